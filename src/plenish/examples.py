"""How each verb is typed: what its help begins with. Every line is checked by a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "demo": ("plenish demo", "plenish demo my-result --data my-images"),
    "doctor": ("plenish doctor", "plenish doctor --benchmark"),
    "import": (
        "plenish import my-images tiles --size 64",
        "plenish import photos lesions --labels meta.csv --label-column dx --group-column lesion_id",
    ),
    "fit": ("plenish fit tiles tiles-32 --size 32", "plenish fit comics grey --channels 1 --trim-bands"),
    "export": ("plenish export tiles tiles-folder", "plenish export more more-hub --as huggingface"),
    "split": ("plenish split tiles", "plenish split tiles --folds 5 --name cv"),
    "profile": ("plenish profile tiles tiles-profile", "plenish profile tiles cv-profile --split cv"),
    "curate": (
        "plenish curate comics clean --where 'tags any(1girl, solo)' --drop bands:any --dry-run",
        "plenish curate tiles clean --drop near-duplicates blurry:0.3 outliers label-errors",
    ),
    "phantom": ("plenish phantom tissue", "plenish phantom small --size 32 --patients 20 --tiles 10"),
    "slides phantom": ("plenish slides phantom slides", "plenish slides phantom few --slides 4 --normal 2"),
    "slides inspect": ("plenish slides inspect slide.svs", "plenish slides inspect slides/*.tiff --json"),
    "slides tile": (
        "plenish slides tile slides tiles --annotations slides --size 224 --mpp 0.5",
        "plenish slides tile slides tiles --metadata clinic.csv --label-column grade --group-column case",
    ),
    "slides overlay": (
        "plenish slides overlay slide.svs look.png --annotations slides --mpp 0.5",
        "plenish slides overlay slide.svs look.png --data tiles",
    ),
    "slides heatmap": (
        "plenish slides heatmap slide.svs map.png --run cae",
        "plenish slides heatmap slide.svs map.png --run tumour-or-not --stride 112",
    ),
    "slides normalise": (
        "plenish slides normalise tiles even", "plenish slides normalise tiles even --method macenko",
    ),
    "slides select": (
        "plenish slides select slides --annotations slides",
        "plenish slides select slides --annotations slides --label tumour --top 20 --out best.csv",
    ),
    "train generator": (
        "plenish train generator tiles gan --hours 1",
        "plenish train generator tiles flow --recipe flow-small --kimg 200",
    ),
    "train gan": (
        "plenish train gan tiles gan",
        "plenish train gan tiles gan --recipe small-stylegan2 --kimg 400 --dry-run",
    ),
    "train autoencoder": (
        "plenish train autoencoder tiles cae --filters 8 16 32 --latent-features 512",
        "plenish train autoencoder tiles normal --only normal",
    ),
    "train queue": (
        "plenish train queue tcga-autoencoders tiles variants",
        "plenish train queue variants.yaml tiles variants",
    ),
    "train classifier": (
        "plenish train classifier tiles tumour-or-not", "plenish train classifier tiles tuned --loss focal",
    ),
    "harden": (
        "plenish harden tiles hardened --method trades --eps 4/255",
        "plenish harden tiles hardened-more --eps 4/255 --generated more --share 0.7 --test",
    ),
    "train translate": (
        "plenish train translate drawings sketch-to-drawing",
        "plenish train translate drawings sketch-to-drawing --kimg 400 --test",
    ),
    "train advgan": (
        "plenish train advgan tiles perturber --against tumour-or-not --eps 4/255",
        "plenish train advgan tiles perturber --against tumour-or-not --norm l2 --eps 0.5 --kimg 100 --test",
    ),
    "translate": (
        "plenish translate sketch-to-drawing my-sketches coloured --fit",
        "plenish translate sketch-to-drawing drawings redrawn --sketch --part test",
    ),
    "predict": (
        "plenish predict tumour-or-not new-images --report",
        "plenish predict one two three slides --tta --coverage 0.9 --report --out answers",
    ),
    "encode": ("plenish encode cae tiles", "plenish encode cae tiles --name cae"),
    "latents": (
        "plenish latents tiles map --array cae",
        "plenish latents tiles map --array cae --colour group --umap",
    ),
    "nearest": (
        "plenish nearest tiles near --array cae --query 0000012",
        "plenish nearest tiles near --array cae --query 0000012 0000015 -n 10",
    ),
    "recipe list": ("plenish recipe list", "plenish recipe list --json"),
    "recipe run": (
        "plenish recipe run histology-cdcgan tiles gan",
        "plenish recipe run flow-small tiles flow --kimg 200",
    ),
    "recipe steps": (
        "plenish recipe steps ham10000-all skin table --dry-run",
        "plenish recipe steps ham10000-64 skin table --seeds 3 --only baseline oversampling",
    ),
    "recipe show": ("plenish recipe show dcgan", "plenish recipe show flow-64 --json"),
    "generate": (
        "plenish generate gan more --like tiles", "plenish generate gan tumours -n 500 --label tumour",
    ),
    "attack-latent": (
        "plenish attack-latent gan tumour-or-not hard --images 500 --judge other-seed",
        "plenish attack-latent gan tumour-or-not hard --label tumour --space w --distance 0.3",
    ),
    "edit flip": (
        "plenish edit flip gan flipped --seeds 1 2 3",
        "plenish edit flip gan flipped --data more --ids s0000004 --to tumour --film webp",
    ),
    "edit counterfactual": (
        "plenish edit counterfactual gan turned --classifier tumour-or-not --to tumour --seeds 1 2 3",
        "plenish edit counterfactual gan turned slide.svs --classifier tumour-or-not --to tumour --tiles 40",
    ),
    "edit anonymise": (
        "plenish edit anonymise gan moved tile.png --against tiles --classifier tumour-or-not",
        "plenish edit anonymise gan moved tiles --ids 0000012 --against tiles --keep lumen",
    ),
    "edit concept": (
        "plenish edit concept gan shown lumen --seeds 1 2 3 --strength -2 -1 0 1 2",
        "plenish edit concept gan both lumen=1 atypia=-0.5 --film webp --keep-class tumour-or-not",
    ),
    "edit directions": (
        "plenish edit directions gan found -n 8",
        "plenish edit directions gan found --method pca --keep-as axis --pick 1 3",
    ),
    "concept learn": (
        "plenish concept learn gan lumen --with 3 8 21 --without 0 5 12",
        "plenish concept learn gan lumen --column lumen --from tiles --keep-label",
    ),
    "concept list": ("plenish concept list gan", "plenish concept list gan --json"),
    "concept rm": ("plenish concept rm gan lumen", "plenish concept rm gan axis-3"),
    "concept export": (
        "plenish concept export gan lumen lumen.json", "plenish concept export gan axis-1 shared/axis-1.json",
    ),
    "concept import": (
        "plenish concept import gan lumen.json", "plenish concept import gan lumen.json --as lumen2",
    ),
    "concept effect": (
        "plenish concept effect gan lumen --from tiles --target lumen",
        "plenish concept effect gan lumen --from tiles --classifier classifier --out effect.json",
    ),
    "edit interpolate": (
        "plenish edit interpolate gan film --seeds 1 2",
        "plenish edit interpolate gan tour --seeds 1 2 3 --loop closed --frames 40 --film mp4",
    ),
    "edit grid": ("plenish edit grid gan square", "plenish edit grid gan square --seeds 4 5 6 7 --side 9"),
    "edit walk": (
        "plenish edit walk gan walk --seed 3 --frames 120",
        "plenish edit walk gan lumen --direction lumen.npy --strength -3 3 --seeds 1 2 3",
    ),
    "edit arithmetic": (
        "plenish edit arithmetic gan sum 'a - b + c' --set a=seeds:1,2,3@normal b=seeds:4,5,6@normal "
        "c=seeds:7,8,9@tumour",
        "plenish edit arithmetic gan more 'a + 2*lumen' --set a=ids:s0000004,s0000007 --data more",
    ),
    "edit mix": (
        "plenish edit mix stylegan table", "plenish edit mix stylegan table --layers 0-3 --styles 8 9",
    ),
    "edit invert": (
        "plenish edit invert gan inverted tiles --part test", "plenish edit invert gan one photo.png --fit",
    ),
    "score-edits": (
        "plenish score-edits turned flipped scores --classifier another",
        "plenish score-edits turned scores --classifier another --judge lumen=tiles:lumen",
    ),
    "export-model": (
        "plenish export-model tumour-or-not for-others",
        "plenish export-model flow few-steps --as torchscript --options steps=10",
    ),
    "score": (
        "plenish score tiles more scores",
        "plenish score tiles more fid --features inception --weights inception.pth",
    ),
    "study": (
        "plenish study tiles help --synthetic more",
        "plenish study tiles folds --folds 5 --arms real classical weighted --dry-run",
    ),
    "study autoencoders": (
        "plenish study autoencoders tiles two --classes normal tumour",
        "plenish study autoencoders tiles two --classes normal tumour --epochs 20",
    ),
    "attack": (
        "plenish attack tumour-or-not tiles",
        "plenish attack model.onnx tiles --eps 0 1/255 4/255 --part test --fail-under 0.4 --at 4/255",
    ),
    "filter": (
        "plenish filter more better --drop copies",
        "plenish filter more better --drop copies low-label-agreement low-density --real tiles",
    ),
    "release": (
        "plenish release more more-public --licence CC-BY-4.0",
        "plenish release more more-public --real tiles --score scores --as huggingface",
    ),
    "report": (
        "plenish report report.html --score scores --study help",
        "plenish report all.html --data tiles --run gan --synthetic more --score scores --study help",
    ),
    "compare": (
        "plenish compare gan gan2 side-by-side", "plenish compare progan stages --images 6 --checkpoint last",
    ),
    "comic": ("plenish comic story.yaml story.pdf", "plenish comic story.yaml page.png --only 1 --pixelated"),
    "studio": (
        "plenish studio gan --data tiles more",
        "plenish studio experiments --data tiles --new-runs experiments --port 7861",
    ),
    "runs list": ("plenish runs list", "plenish runs list experiments --json"),
    "runs tree": ("plenish runs tree", "plenish runs tree experiments --json"),
    "runs show": ("plenish runs show gan", "plenish runs show gan --json"),
    "runs rm": ("plenish runs rm old", "plenish runs rm old --yes"),
    "runs prune": ("plenish runs prune experiments", "plenish runs prune experiments --keep 2 --yes"),
    "bench": ("plenish bench", "plenish bench --recipe small-stylegan2 --rounds 5"),
    "bench gan": ("plenish bench gan --recipe dcgan", "plenish bench gan --all --out speed.json"),
    "bench flow": ("plenish bench flow", "plenish bench flow --recipe flow-64 --size 64"),
    "bench autoencoder": ("plenish bench autoencoder", "plenish bench autoencoder --size 96 --channels 1"),
}  # fmt: skip
"""Two lines for each verb, the usual one first."""

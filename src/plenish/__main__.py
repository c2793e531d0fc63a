from plenish.cli import main

if __name__ == "__main__":
    main()

"""`make lock`, or `python -m tools.image.debian`: pin the newest packages of each suite."""

from tools.image.debian.renew import renew

if __name__ == "__main__":
    renew()

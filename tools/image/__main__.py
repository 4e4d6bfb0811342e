"""`python -m tools.image`: build the dom0 image and print where its parts are."""

from dataclasses import asdict

from tools.image.build import build_image

if __name__ == "__main__":
    for part, path in asdict(build_image()).items():
        print(f"{part:14} {path}  {path.stat().st_size / 2**20:.1f} MiB")

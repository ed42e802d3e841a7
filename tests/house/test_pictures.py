from pathlib import Path

from PIL import Image

from lipsync_async._tools.pictures import main


def test_the_pictures_of_the_guides_are_small(tmp_path: Path) -> None:
    """The demo's contact sheet and two rows of seven faces; both load quickly."""
    Image.new("RGB", (1350, 628), "#3366cc").save(tmp_path / "contact-sheet.png")
    docs = tmp_path / "made"
    docs.mkdir()
    main(tmp_path, docs)
    sizes = {}
    for path in (*docs.iterdir(), *Path("docs").glob("*.png")):
        with Image.open(path) as picture:
            sizes[path.parent.name, path.name] = picture.size
        assert path.stat().st_size < 150_000
    assert sizes == {
        (folder, name): size
        for folder in (docs.name, "docs")
        for name, size in {"contact-sheet.png": (960, 446), "lips.png": (1050, 356)}.items()
    }

"""contrib/release: what it refuses to tag, and what it refuses to have built. The rest is `make release` itself."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.contrib_module import CONTRIB, load


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(CONTRIB / "release")
    module = load("release/release.py")
    yield module
    sys.modules.pop("trial", None)


@pytest.fixture
def checkout(release: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that is ready to be released."""
    monkeypatch.setattr(release, "ROOT", tmp_path)
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").touch()
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {release.VERSION} (2026-12-01)\n")
    return tmp_path


class Git:
    """Answers as git does in a clean checkout without the tag, but for what it is told."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers

    def __call__(self, command: str, *words: str) -> str:
        return self.answers.get(command, "")


def test_a_checkout_that_is_ready_is_not_refused(release: ModuleType, checkout: Path) -> None:
    assert release.refuse_unready(Git()) is None


@pytest.mark.parametrize(
    ("answers", "reason"),
    [({"tag": "v1"}, "is tagged already"), ({"status": " M README.md"}, "there is uncommitted work")],
)
def test_what_git_says_against_a_tag_refuses_it(
    release: ModuleType, checkout: Path, answers: dict[str, str], reason: str
) -> None:
    with pytest.raises(release.NotReady, match=reason):
        release.refuse_unready(Git(**answers))


def test_changes_that_the_changelog_has_not_refuse_a_tag(release: ModuleType, checkout: Path) -> None:
    (checkout / "changes" / "+limit.changed.md").touch()
    with pytest.raises(release.NotReady, match=r"not in CHANGELOG.md yet: 1 of changes/"):
        assert release.refuse_unready(Git()) is None


def test_a_changelog_without_the_version_refuses_a_tag(release: ModuleType, checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## 0.0.1 (2026-11-22)\n")
    with pytest.raises(release.NotReady, match="has no section for"):
        assert release.refuse_unready(Git()) is None


def make_wheel(folder: Path, *names: str) -> Path:
    path = folder / "prefd-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in (*names, "prefd-1.dist-info/METADATA"):
            wheel.writestr(name, "")
    return path


def test_a_wheel_must_hold_every_module_and_nothing_else(release: ModuleType, checkout: Path) -> None:
    for folder in ("daemon", "cache", "plugins"):
        (checkout / folder / "inner").mkdir(parents=True)
        for name in ("__init__.py", "py.typed", "inner/one.py"):
            (checkout / folder / name).touch()
    whole = [
        f"prefd/{folder}/{name}"
        for folder in ("daemon", "cache", "plugins")
        for name in ("__init__.py", "py.typed", "inner/one.py")
    ]
    with pytest.raises(release.NotReady, match="has no page"):
        release.check_content(make_wheel(checkout, *whole))
    whole = ["prefd/daemon/page/static/index.html", "prefd/daemon/page/static/assets/main-HASH.js", *whole]
    release.check_content(make_wheel(checkout, *whole))
    with pytest.raises(release.NotReady, match=r"lacks \['prefd/plugins/inner/one.py'\] and has \[\] too many"):
        release.check_content(make_wheel(checkout, *whole[:-1]))
    with pytest.raises(release.NotReady, match=r"lacks \[\] and has \['tests/support/tiny_model.py'\] too many"):
        release.check_content(make_wheel(checkout, *whole, "tests/support/tiny_model.py"))

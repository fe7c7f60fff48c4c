"""The report's page: nothing fetched, everything escaped, tables that sort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.experiments.report_runs import cells, report


def test_nothing_is_fetched(grid: Path, tmp_path: Path) -> None:
    from plotly.offline import get_plotlyjs

    page = report(grid, tmp_path / "r.html")
    whole = (tmp_path / "r.html").read_text(encoding="utf-8")
    ours = whole.replace(get_plotlyjs(), "")
    assert len(whole) - len(ours) > 1_000_000
    assert "http:" not in ours
    assert "https:" not in ours
    assert "@import" not in ours
    assert "url(" not in ours
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = (a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_tables_bring_their_sorting(grid: Path, tmp_path: Path) -> None:
    page = report(grid, tmp_path / "r.html")
    *_, (_, script) = page.scripts
    assert "table.sortable" in script
    sortable = [attributes for tag, attributes in page.tags if tag == "table"]
    assert len(sortable) >= 6
    assert all(attributes["class"] == "sortable" for attributes in sortable)


def test_what_users_wrote_is_shown_and_never_markup(grid: Path, tmp_path: Path, capsys) -> None:
    evil = "<script>alert('x')</script>\"&<img src=x onerror=alert(1)>"
    runs = tmp_path / "evil <b>&amp;"
    runs.mkdir()
    for index, cell in enumerate(cells(grid)[:2]):
        run = Path(shutil.copytree(cell, runs / f"<i>{index}"))
        config = run / "config.toml"
        config.write_text(config.read_text().replace('data-dir = ""', f"data-dir = {json.dumps(evil + str(index))}"))
        environment = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps({**environment, "processor": evil}))
    (runs / "broken").mkdir()
    (runs / "broken" / "config.toml").write_text('"</script><script>alert(2)</script>" = 1\n')
    honest = report(grid, tmp_path / "honest.html")
    page = report(runs, tmp_path / "r.html")
    assert len(page.scripts) == len(honest.scripts) == 3
    allowed = {tag for tag, _ in honest.tags} | {"a"}
    assert {tag for tag, _ in page.tags} <= allowed
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert f"Runs of {runs.name}" in page.text
    assert evil in page.text
    (reason,) = (row["why"] for row in page.rows("Runs that failed or are not whole"))
    assert "</script><script>alert(2)</script>" in reason
    # Plotly reads a little markup in names; it decodes these entities and shows them.
    names = {trace["name"] for figure in page.figures().values() for trace in figure["data"]}
    assert not any("<" in name for name in names)
    capsys.readouterr()


def test_templates_are_found_from_any_folder(grid: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    report(grid, "r.html")
    assert Path("r.html").read_bytes() == (grid / "report.html").read_bytes()

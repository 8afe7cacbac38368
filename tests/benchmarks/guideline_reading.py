"""How well and how fast guideline documents are read, against other readers of the same files:

    python tests/benchmarks/guideline_reading.py FOLDER [--peer PYTHON] [--hostile FOLDER...]

FOLDER holds the PDFs. Pages: 200 passages are sampled and each is looked for in what pdftotext
(poppler) gives for the pages that the passage cites. Tables: the rows of 20 tables, written down
from the rendered pages, are looked for as rows in ours and in pymupdf4llm's Markdown. Speed: the
same excerpts are read in turn. PYTHON is an interpreter that has pymupdf4llm; without it ours
stands alone. Every file of a hostile FOLDER is read or refused, its seconds and memory taken.
"""

import argparse
import json
import random
import re
import resource
import statistics
import subprocess
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cpg_store.errors import CpgStoreError
from cpg_store.page import Reading
from cpg_store.pdf import read_pdf
from cpg_store.split import Piece, split

SAMPLE, SEED = 200, 6
CHUNK_WORDS = 6
FOUND = 0.9
"""The share of a passage's runs of words that its pages must hold."""
EXCERPT_PAGES, ROUNDS = 30, 3

Row = tuple[str, ...]
"""A row by its cells in order: a few words of each; both sides of "…" stand in the same cell."""

TABLES: dict[tuple[str, int, str], tuple[Row, ...]] = {
    ("who-mpox-2025", 39, "Table 2"): (
        ("Risk factors", "Study results…measurements", "Certainty of the…evidence", "Summary"),
        ("Age (per 10…increase)", "0.88…6 studies", "Low…serious imprecision", "Age may…disease"),
        ("Sex (males…females)", "0.78…3 studies", "Low…serious imprecision", "Males…with females"),
        ("HIV (positive…negative)", "1.79…3.00", "Moderate…inconsistency", "HIV is…disease"),
    ),
    ("who-mpox-2025", 40, "Table 2, next page"): (
        ("HIV (CD4 < 350…negative)", "2.45…2 studies", "High", "CD4 < 350…HIV negative patients"),
        ("HIV (CD4 ≥ 350…negative)", "0.82…2 studies", "Low…imprecision", "CD4 ≥ 350"),
        ("Vaccination (mpox…smallpox)", "0.88…7 studies", "Low…imprecision", "Mpox…disease"),
        ("Vaccination…prior", "0.96…6 studies", "Low…imprecision", "Childhood…disease"),
    ),
    ("who-mpox-2025", 40, "Table 3"): (
        ("HIV (positive…negative)", "10.81…2 studies", "High", "HIV is…mortality"),
        (
            "Age (per year)",
            "0.90…1 study",
            "Very low…imprecision",
            "uncertain whether age…mortality",
        ),
        ("Sex (males…females)", "3.59…1 study", "Very low…imprecision", "males…with females"),
    ),
    ("who-mpox-2025", 41, "Table 4"): (
        ("Hospitalization", "40 per 1000", "NA", "42 per 1000"),
        ("ICU admission", "0.3 per 1000", "49 per 1000", "0.4 per 1000"),
        ("Mechanical ventilation", "8 per 1000", "55 per 1000", "26 per 1000"),
        ("All-cause mortality", "0 per 1000", "46 per 1000", "0 per 1000"),
    ),
    ("who-mpox-2025", 42, "Table 5"): (
        ("Secondary bacterial…infection", "75 per 1000", "210 per 1000", "92 per 1000"),
        ("Gastroenteritis", "12 per 1000", "125 per 1000", "23 per 1000"),
        ("Keratitis", "63 per 1000…106", "32 per 1000", "39 per 1000"),
        ("Proctitis", "67 per 1000", "235 per 1000", "69 per 1000"),
        ("Paraphimosis", "9 per 1000", "NA", "9 per 1000"),
    ),
    ("who-mpox-2025", 57, "isolation at home"): (
        ("Outcome…Timeframe", "Study results", "Covered…isolation", "Isolation until…healed"),
        ("Mpox infection…data", "Observational", "31 742…odds: 1", "Low…indirectness", "Isolating"),
    ),
    ("who-mpox-2025", 78, "early or delayed ART"): (
        (
            "Mortality (high…risk)",
            "2.08…controlled",
            "46 per 1000",
            "91 per 1000",
            "Moderate",
            "ART in HIV",
        ),
        (
            "Mortality (low…risk)",
            "2.08…controlled",
            "3 per 1000",
            "6 per 1000",
            "Moderate",
            "ART in HIV",
        ),
        (
            "Hospitalization",
            "167.93…randomized",
            "82 per 1000",
            "385 per 1000",
            "Very low",
            "hospitalisation",
        ),
        ("IRIS", "21.09…randomized", "100 per 1000", "112 per 1000", "Very low", "IRIS"),
    ),
    ("who-mpox-2025", 137, "adults"): (
        ("Antibiotic", "Dose"),
        ("Cephalexin", "500 mg orally every 8 hours"),
        ("Clindamycin", "600 mg orally every 8 hours"),
        ("Trimethoprim-sulfamethoxazole", "800-160 mg orally every 12 hours"),
        ("Doxycycline", "100 mg orally every 12 hours"),
    ),
    ("who-mpox-2025", 137, "children"): (
        ("Weight", "Amoxicillin-clavulanic acid", "Cefalexin", "Cloxacillin"),
        ("3 < 6 kg", "250 mg…twice daily", "125 mg every 12 hours", "125 mg every 6 hours"),
        ("6 < 10 kg", "375 mg…twice daily", "250 mg every 12 hours", "250 mg every 6 hours"),
    ),
    ("who-mpox-2025", 138, "children, next page"): (
        ("10 < 15 kg", "500 mg…twice daily", "375 mg every 12 hours", "375 mg every 6 hours"),
        ("20 < 30 kg", "1000 mg…twice daily", "625 mg every 12 hours", "750 mg every 6 hours"),
        ("> 30 kg", "Use adult dose", "Use adult dose", "Use adult dose"),
    ),
    ("who-arboviral-2025", 34, "Table 3-2"): (
        ("Outcome", "Non-severe disease…1000", "Severe disease…1000"),
        ("Mortality", "1", "20"),
        ("Admission to hospital", "50", "N/A"),
        ("Organ failure", "N/A", "50"),
    ),
    ("who-arboviral-2025", 44, "Table 4-2"): (
        ("Age", "Body weight", "Dose and duration…diseases"),
        ("Adults", "> 50 kg", "every 4-6 hours…4 g"),
        ("Paediatrics", "10-15mg/kg", "every 4-6 hours…60 mg/kg"),
    ),
    ("who-arboviral-2025", 45, "Table 4-3"): (
        ("Glomerular filtration rate", "Dose"),
        ("10-50 ml/min", "500 mg every 6 hours"),
        ("<10 ml/min", "500 mg every 8 hours"),
    ),
    ("who-arboviral-2025", 49, "Table 4-5"): (
        ("kg", "tablets", "mg", "tablets", "mg"),
        ("Adults…15 years", "> 53", "1-2", "500-1000", "8", "4000"),
        ("Children…14 years", "10 mg/kg", "½-1", "250-500", "4", "2000"),
    ),
    ("who-arboviral-2025", 62, "Table 5-1"): (
        ("Interventions assessed", "Studies", "Patients"),
        ("Balanced crystalloids…lactate", "7", "484"),
        ("Starch…variously", "5", "388"),
        ("Hypertonic saline", "1", "48"),
        ("Albumin", "0", "0"),
    ),
    ("who-arboviral-2025", 70, "Table 5-4"): (
        ("Mortality", "0.89…59 days", "20 per 1000", "18 per 1000", "High", "lactate-guided"),
        ("Renal…therapy", "0.71…90 days", "60 per 1000", "43 per 1000", "Moderate", "Capillary"),
        (
            "Hospital…of stay",
            "Measured…2 studies",
            "22.2 days",
            "24.2 days",
            "Very low",
            "uncertain",
        ),
        ("ICU…stay", "Measured…2 studies", "10 days", "9.8 days", "Low", "Capillary"),
    ),
    ("who-arboviral-2025", 97, "Table 5-12"): (
        ("Body weight", "Loading dose", "Second dose", "Third dose"),
        ("5 kg to 20 kg", "3 ml/kg…1 hour", "7 ml/kg…4 hours", "14 ml/kg…16 hours"),
        ("21 to 40 kg", "100 ml…1 hour", "250 ml…4 hours", "500 ml…16 hours"),
        ("41 kg or greater", "200 ml…1 hour", "500 ml…4 hours", "1000 ml…16 hours"),
    ),
    ("who-ipc-core-2016", 22, "Table 4.1"): (
        ("Dimension no", "Thematic area"),
        ("1", "Organizational…programmes"),
        ("3", "Methods and…workers"),
        ("5", "Overview…precautions"),
    ),
    ("who-ipc-core-2016", 24, "Table 4.2"): (
        ("Dimension N", "Components", "Description"),
        ("1", "Organization…programmes", "Organizational…roles"),
        ("2", "Surveillance", "Targets…feedback"),
        ("6", "Auditing", "The process…HAIs"),
        ("9", "Knowledge…management", "A range…institution"),
    ),
    ("cdc-outpatient-ipc", 36, "device reprocessing"): (
        ("Elements to be assessed", "Assessment", "Notes/Areas for…Improvement"),
        ("A. Policies…area", "Yes…No"),
        ("E…Adequate time…reprocessing steps", "Yes…No"),
        ("G. Medical devices…contamination", "Yes…No"),
    ),
}
"""Written down from the rendered pages of who-mpox-2025, who-arboviral-2025, who-ipc-core-2016 and
cdc-outpatient-ipc: document, page of the file, table, and some of its rows, its head among them."""

_PEER = """
import json, sys, time
import pymupdf4llm
if sys.argv[1] == "classic":
    pymupdf4llm.use_layout(False)
for name in sys.stdin:
    started = time.perf_counter()
    path, _, pages = name.strip().partition("\\t")
    wanted = json.loads(pages) if pages else None
    chunks = pymupdf4llm.to_markdown(path, pages=wanted, page_chunks=True, show_progress=False)
    spent = time.perf_counter() - started
    sys.__stdout__.write("ANSWER" + json.dumps([spent, [c["text"] for c in chunks]]) + "\\n")
    sys.__stdout__.flush()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer", help="an interpreter that has pymupdf4llm")
    parser.add_argument("--hostile", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    readings = {path: read(path) for path in sorted(arguments.folder.glob("*.pdf"))}
    report_pages(readings)
    report_tables(arguments.folder, readings, arguments.peer)
    report_speed(list(readings), arguments.peer)
    report_hostile(arguments.hostile)


def read(path: Path) -> Reading:
    return read_pdf(path.read_bytes(), path.name)


def report_pages(readings: dict[Path, Reading]) -> None:
    pieces = [(path, piece) for path, reading in readings.items() for piece in split(reading.pages)]
    sampled = random.Random(SEED).sample(pieces, min(SAMPLE, len(pieces)))
    wrong = []
    for path, piece in sampled:
        assert piece.page is not None and piece.last_page is not None
        share = share_on(
            path, range(piece.page, piece.last_page + 1), printed_on(readings, path, piece)
        )
        if share < FOUND:
            wrong.append(f"  {path.name} page {piece.page} ({share:.0%}): {piece.text[:60]!r}")
    print(f"page cited is the page of the text: {len(sampled) - len(wrong)} of {len(sampled)}")
    print("\n".join(wrong))


def printed_on(readings: dict[Path, Reading], path: Path, piece: Piece) -> str:
    """A passage without the head of a table that began on the page before."""
    if piece.kind != "table" or not piece.continues:
        return piece.text
    page = next(page for page in readings[path].pages if page.number == piece.page)
    return page.text[piece.start : piece.end]


def share_on(path: Path, pages: range, text: str) -> float:
    """The share of a text's short runs of words that these pages hold, by another reader."""
    squeezed = "".join(squeeze(poppler(path, number)) for number in pages)
    runs = [
        words[at : at + CHUNK_WORDS]
        for cell in re.split(r"[|\n]", text)
        for words in [cell.split()]
        for at in range(0, len(words), CHUNK_WORDS)
    ]
    return sum(is_in(run, squeezed) for run in runs) / max(len(runs), 1)


def is_in(run: list[str], squeezed: str) -> bool:
    """Whole, or in two where a column, a cell or a page ends within it."""
    words = [squeeze(word) for word in run]
    return any(
        "".join(words[:cut]) in squeezed and "".join(words[cut:]) in squeezed
        for cut in range(len(words))
    )


@cache
def poppler(path: Path, page: int) -> str:
    """A page's text in the order of the file, and as laid out: a row of cells is in either."""
    return "".join(
        subprocess.run(
            ["pdftotext", *mode, "-f", str(page), "-l", str(page), path, "-"],
            capture_output=True,
            check=True,
        ).stdout.decode()
        for mode in ([], ["-raw"], ["-layout"])
    )


def squeeze(text: str) -> str:
    """Letters and digits alone: line ends, hyphens and spaces are set differently everywhere."""
    return "".join(
        each for each in unicodedata.normalize("NFKC", text).casefold() if each.isalnum()
    )


def report_tables(folder: Path, readings: dict[Path, Reading], peer: str | None) -> None:
    ours = {
        path.stem: [
            [block.text for block in page.blocks if block.kind == "table"] for page in reading.pages
        ]
        for path, reading in readings.items()
    }
    found = {"ours": {(name, page): "\n".join(ours[name][page - 1]) for name, page, _ in TABLES}}
    if peer:
        for mode in ("layout", "classic"):
            found[f"pymupdf4llm, {mode}"] = peer_pages(folder, peer, mode)
    total = sum(len(rows) for rows in TABLES.values())
    for reader, texts in found.items():
        held = {table: rows_found(texts[table[:2]], rows) for table, rows in TABLES.items()}
        whole = sum(held[table] == len(rows) for table, rows in TABLES.items())
        rows_held = f"{sum(held.values())} of {total} rows"
        print(f"tables, {reader}: {rows_held}, {whole} of {len(TABLES)} whole")
        for table, rows in TABLES.items():
            if held[table] < len(rows):
                print(f"  {table[0]} page {table[1]}, {table[2]}: {held[table]} of {len(rows)}")


def peer_pages(folder: Path, peer: str, mode: str) -> dict[tuple[str, int], str]:
    texts = {}
    wanted: dict[str, list[int]] = {}
    for name, page, _ in TABLES:
        wanted.setdefault(name, []).append(page)
    asked = [
        f"{folder / name}.pdf\t{json.dumps([p - 1 for p in sorted(set(pages))])}"
        for name, pages in wanted.items()
    ]
    for (name, pages), (_, found) in zip(wanted.items(), ask_peer(peer, mode, asked), strict=True):
        for page, text in zip(sorted(set(pages)), found, strict=True):
            texts[name, page] = text
    return texts


def ask_peer(peer: str, mode: str, lines: list[str]) -> Iterator[tuple[float, list[str]]]:
    answer = subprocess.run(
        [peer, "-c", _PEER, mode],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    for line in answer.stdout.splitlines():
        if line.startswith("ANSWER"):
            spent_s, texts = json.loads(line.removeprefix("ANSWER"))
            yield spent_s, texts


def rows_found(text: str, rows: tuple[Row, ...]) -> int:
    tables = [
        [plain(cell) for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.lstrip().startswith("|")
    ]
    return sum(any(holds(cells, row) for cells in tables) for row in rows)


def holds(cells: list[str], row: Row) -> bool:
    """Tell whether the cells hold the row's, each in a cell of its own, in order."""
    at = 0
    for wanted in row:
        parts = [plain(part) for part in wanted.split("…")]
        is_exact = re.fullmatch(r"[\d.]+|NA|N/A|kg|mg", wanted)
        while at < len(cells) and not (
            cells[at] == parts[0] if is_exact else all(part in cells[at] for part in parts)
        ):
            at += 1
        if at == len(cells):
            return False
        at += 1
    return True


def plain(cell: str) -> str:
    cell = re.sub(r"<[^<>]*>|[*_`~\\]", " ", cell.replace("&lt;", "<").replace("&gt;", ">"))
    cell = unicodedata.normalize("NFKC", cell).casefold()
    cell = re.sub("[\u2010-\u2014]", "-", cell).replace("\u2044", "/")
    return re.sub(r"\s*-\s*", "-", re.sub(r"\s+", " ", cell)).strip()


def report_speed(paths: list[Path], peer: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        excerpts = [excerpt(path, Path(folder)) for path in paths]
        pages = sum(count for _, count in excerpts)
        names = [str(path) for path, _ in excerpts]

        def ask(mode: str) -> float:
            assert peer is not None
            return sum(spent_s for spent_s, _ in ask_peer(peer, mode, names))

        readers: dict[str, Callable[[], float]] = {
            "ours, whole (process, reading, layout)": lambda: timed(excerpts)
        }
        if peer:
            readers["pymupdf4llm, layout (its import not counted)"] = lambda: ask("layout")
            readers["pymupdf4llm, classic (its import not counted)"] = lambda: ask("classic")
        spent: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(ROUNDS):
            for name, run in readers.items():
                spent[name].append(run())
        for name, seconds in spent.items():
            rate = pages / statistics.median(seconds)
            print(f"pages a second, {name}: {rate:.1f} ({pages} pages, median of {ROUNDS})")


def timed(excerpts: list[tuple[Path, int]]) -> float:
    started = time.perf_counter()
    for path, _ in excerpts:
        read(path)
    return time.perf_counter() - started


def excerpt(path: Path, folder: Path) -> tuple[Path, int]:
    """Every n-th page of a document, as a document."""
    import pymupdf

    open_document: Any = pymupdf.open
    with open_document(path) as document:
        step = max(1, document.page_count // EXCERPT_PAGES)
        document.select(list(range(0, document.page_count, step))[:EXCERPT_PAGES])
        document.save(folder / path.name, garbage=3)
        return folder / path.name, document.page_count


def report_hostile(folders: list[Path]) -> None:
    for folder in folders:
        verdicts: Counter[str] = Counter()
        slowest = (0.0, "")
        for path in sorted(folder.glob("*")):
            started = time.perf_counter()
            try:
                read(path)
                verdicts["read"] += 1
            except CpgStoreError as error:
                verdicts[type(error).__name__] += 1
            slowest = max(slowest, (time.perf_counter() - started, path.name))
        most_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{folder.name}: {dict(verdicts)}; slowest {slowest[0]:.1f} s ({slowest[1]})")
        print(f"  the most memory of any child so far: {most_mib:.0f} MiB")


if __name__ == "__main__":
    main()

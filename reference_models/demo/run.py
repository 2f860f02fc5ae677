"""The work of ``reference-models demo``: from the photograph to the printed tables and the overlay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attnzoo.files import check_writable, write_output
from reference_models.demo.backbone import BACKBONE, Attended, attend
from reference_models.demo.networks import NetworkRun, align, plans, run_networks
from reference_models.extras import load
from reference_models.faces.images import RGBImage, read_image
from reference_models.faces.landmarks import choose, detect
from reference_models.figures import overlay
from reference_models.papers.ledger import OPERATIONS, Claim
from reference_models.preparation.preparation import PREPARATIONS

UNTRAINED = (
    "The four networks have random weights, for the papers published none: their costs are real, their outputs mean"
    " nothing, so none is shown."
)


def run(image: Path | None, output: Path, neutral: Path | None, *, console: Console, progress: Console) -> None:
    """Run the demonstration on one photograph, and write the overlay.

    Args:
        image: Path of the photograph; None uses scikit-image's astronaut.
        output: Path of the PNG to write.
        neutral: Path of a photograph of the same person's neutral face, for CEDNN's difference maps; None runs CEDNN
            without maps.
        console: Console for results.
        progress: Console for progress.

    Raises:
        ImageError: If a photograph cannot be read.
        NoFaceError: If a photograph shows no face.
        MissingExtraError: If an extra is not installed.
        OutputError: If ``output`` cannot be written; this is checked first.
    """
    start = time.perf_counter()
    check_writable(output, ".png")
    with _one_thread(), progress.status("Reading the photograph and finding the face") as status:
        photograph, name = _photograph(image)
        face = choose(detect(photograph), name=name)
        frames = align(photograph, face)
        levels = None
        if neutral is not None:
            neutral_image = read_image(neutral)
            preparation = PREPARATIONS["cednn"]
            neutral_face = choose(detect(neutral_image), name=str(neutral))
            levels = preparation.levels(preparation.frame(neutral_image, neutral_face), frames.cednn)
        console.print(
            f"[bold]{escape(name)}[/bold], {photograph.shape[1]} x {photograph.shape[0]} pixels: a face at"
            f" {', '.join(f'{edge:.0f}' for edge in face.box)} (left, top, right, bottom), 68 landmarks"
        )
        status.update(f"Putting CBAM and SE into {BACKBONE}")
        attended = attend(photograph)
        _print_backbone(console, attended)
        runs = run_networks(plans(frames, levels), lambda network: status.update(f"Building and timing {network}"))
        console.print(_table(runs))
        console.print(UNTRAINED)
        status.update("Drawing the sheet")
        sheet = overlay.Sheet(Path(name).name, photograph, face, frames.tra_net, attended.gates, levels)
        write_output(output, overlay.draw(sheet))
    console.print(
        f"Attention overlay: [bold]{escape(str(output))}[/bold] ({time.perf_counter() - start:.0f} s after loading)"
    )


def _photograph(image: Path | None) -> tuple[RGBImage, str]:
    if image is not None:
        return read_image(image), str(image)
    data = load("skimage.data", package="scikit-image", extra="faces")
    return data.astronaut(), "astronaut (scikit-image)"


def _print_backbone(console: Console, attended: Attended) -> None:
    for attachment, place in zip(attended.attachments, ("stage", "block"), strict=True):
        plan = attachment.plan
        console.print(
            f"{plan.layer} attached to {BACKBONE} after each {place}: {len(plan.rows)} sites,"
            f" {plan.parameters:,} parameters added"
        )
    table = Table(box=box.SIMPLE_HEAD, title=f"{BACKBONE} (ImageNet), the five likeliest classes", title_justify="left")
    table.add_column("bare", no_wrap=True)
    table.add_column("", justify="right")
    table.add_column("with CBAM and SE, at attach", no_wrap=True)
    table.add_column("", justify="right")
    for (bare, likely), (now, likely_now) in zip(attended.before, attended.after, strict=True):
        table.add_row(bare, f"{likely:.4f}", now, f"{likely_now:.4f}")
    console.print(table)
    verdict = "identical, bit for bit" if attended.identical else "[red]not identical[/red]"
    console.print(f"All 1000 logits before and after: {verdict}. Training moves the attention away from the identity.")


def _table(runs: list[NetworkRun]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title="The papers' networks on this face",
        title_justify="left",
        caption="operations: by the rule of the network's paper. latency: median, one image, one CPU thread. -: the"
        " paper prints no figure.",
        caption_justify="left",
    )
    table.add_column("network", min_width=19)
    for header in ("parameters", "paper", "MACs\n(fvcore)", "operations", "paper", "latency"):
        table.add_column(header, justify="right")
    for network in runs:
        parameters, operations = (_printed(network, quantity) for quantity in ("parameters", "operations"))
        macs = network.cost.macs
        table.add_row(
            f"[bold]{network.network}[/bold]\n{network.variant}\n[dim]{network.inputs}\n{network.outputs}[/dim]",
            f"{network.cost.parameters:,}",
            "-" if parameters is None else f"{parameters.paper} M",
            "-" if macs is None else f"{macs / 1e9:.3f} G",
            "-" if operations is None else f"{(OPERATIONS[operations.convention](network.cost) or 0) / 1e9:.3f} G",
            "-" if operations is None else f"{operations.paper} G",
            f"{network.milliseconds:.0f} ms",
            end_section=True,
        )
    return table


def _printed(network: NetworkRun, quantity: str) -> Claim | None:
    return next((claim for claim in network.claims if claim.quantity == quantity and claim.paper is not None), None)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread, so that latencies are comparable.

    If other programs use the cores too, one thread is also faster than several that wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

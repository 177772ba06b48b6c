"""`pocketsam models`: the models that have a name, and which of them are on disk."""


def models() -> None:
    """List the models that have a name, and where their files are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pocketsam.utils.files import home
    from pocketsam.zoo import MODELS, describe

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for heading in ("parameters", "input", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("on disk", overflow="fold")
    for model in MODELS.values():
        table.add_row(*describe(model))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no edge to fold paths at
    console.print(table)
    console.print(
        "Use one by name: pocketsam segment PHOTO --point X,Y --model mobile_sam\n"
        f"It is downloaded once, to {home()} (POCKETSAM_HOME).",
        soft_wrap=True,
        markup=False,
    )

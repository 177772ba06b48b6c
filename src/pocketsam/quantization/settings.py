"""What can be chosen about a quantisation; needs no PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from pocketsam.errors import InputError
from pocketsam.utils.options import OUTPUT, option

Method = Literal["minmax", "percentile", "mse", "output", "hessian"]
Form = Literal["onnx", "encoder", "scales"]
METHODS: tuple[str, ...] = get_args(Method)
FEWEST_BITS, MOST_BITS = 2, 16


@dataclass(frozen=True)
class QuantizationSettings:
    """The defaults are TinySAM's method at 8 bits.

    weight_bits, activation_bits: 2 to 16.
    method: how scales are found. "minmax": no number is clipped. "percentile": all but the largest 0.1 % are not.
    "mse": the least squared error of each tensor. "output": the least squared error of each product. "hessian":
    likewise, each error weighted by the squared gradient of the task loss.
    rounds: of the alternating search of "output" and "hessian" over a product's two scales. 1: no alternation, each
    scale is searched for while the other operand is left in float.
    two_groups: whether the results of softmax and GELU have two scales.
    candidates: how many scales the search tries in each step, from `lowest` to `highest` times the min-max scale.
    rows: how many rows of each product are compared per image and call; of linear layers and attention more, see
    `rows.choose`.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    method: Method = field(
        default="hessian",
        metadata=option(
            str, "How scales are found: minmax, percentile, mse, output or hessian.", metavar="METHOD"
        ),
    )
    rounds: int = field(
        default=3,
        metadata=option(
            int,
            "Rounds of the alternating search; 1 searches for each scale separately.",
            metavar="N",
            minimum=1,
        ),
    )
    two_groups: bool = True
    candidates: int = 100
    lowest: float = 0.01
    highest: float = 1.2
    rows: int = 64

    def __post_init__(self) -> None:
        for name, bits in (("weight", self.weight_bits), ("activation", self.activation_bits)):
            if not FEWEST_BITS <= bits <= MOST_BITS:
                raise InputError(f"{bits} {name} bits: give {FEWEST_BITS} to {MOST_BITS}")
        if self.method not in METHODS:
            raise InputError(f"there is no method {self.method!r}; use {', '.join(METHODS)}")
        if self.rounds < 1:
            raise InputError(f"rounds is {self.rounds}; give 1 or more")

    @property
    def searches(self) -> bool:
        """Whether scales are compared by what they do to a product, and not by the numbers of a tensor alone."""
        return self.method in ("output", "hessian")

    @property
    def kind(self) -> str:
        """The usual short name, such as "w8a8"."""
        return f"w{self.weight_bits}a{self.activation_bits}"


@dataclass(frozen=True)
class QuantizeArguments:
    """What is quantised, how small its numbers shall be, what is written, and with how much work.

    model: its name, folder or file. calibration: files and folders of photos. output: the folder to write.
    bits: of weights and activations, 2 to 16; weight_bits and activation_bits are for one of the two.
    to: "onnx", "encoder" or "scales"; None for ONNX files where they can hold those bits.
    full_range: whether ONNX files use all 8 bits of weights, which overflow on processors without VNNI; else 7.
    one_scale: whether the results of softmax and GELU have one scale, as they always have in ONNX files.
    photos: how many of the photos to calibrate with. threads: of PyTorch; None for all cores.
    """

    model: str = field(
        metadata=option(
            str, "A model's name, a folder with its weights, or a checkpoint.", argument=True, metavar="MODEL"
        )
    )
    calibration: Sequence[Path] = field(
        metadata=option(
            list[Path],
            "Photos to calibrate with, similar to those that the model will segment: a folder, tar shards or a"
            " COCO JSON; masks are not needed. May be repeated.",
            flags=("--calibrate",),
            metavar="PHOTOS",
        )
    )
    output: Path = field(metadata=option(Path, "The folder to write.", flags=OUTPUT, metavar="OUT"))
    photos: int = field(
        default=8, metadata=option(int, "How many of the photos to use.", metavar="N", minimum=1)
    )
    threads: int | None = field(
        default=None, metadata=option(int, "CPU threads; all cores, if not given.", metavar="N", minimum=1)
    )
    bits: int = field(
        default=8, metadata=option(int, "Bits of weights and activations, 2 to 16.", metavar="N")
    )
    weight_bits: int | None = field(
        default=None, metadata=option(int, "Bits of weights, if others.", metavar="N")
    )
    activation_bits: int | None = field(
        default=None, metadata=option(int, "Bits of activations, if others.", metavar="N")
    )
    to: Form | None = field(
        default=None,
        metadata=option(
            Form,
            "onnx: files that compute with 8-bit integers; the default for 8 bits. encoder:"
            " encoder_int8.onnx alone, for a folder of the model's float ONNX files. scales: a file of weights and"
            " scales for any number of bits, which the engine fake-quant computes in float32.",
        ),
    )
    full_range: bool = field(
        default=False,
        metadata=option(
            bool,
            "Use all 8 bits of weights in ONNX files, instead of 7. Only for processors with VNNI: on others, sums"
            " overflow.",
        ),
    )
    one_scale: bool = field(
        default=False,
        metadata=option(bool, "Use one scale instead of two for the results of softmax and GELU."),
    )


def choose(search: QuantizationSettings, args: QuantizeArguments) -> tuple[QuantizationSettings, Form]:
    """The settings with the bits that are wanted, and what to write.

    Raises InputError when ONNX files are wanted that cannot hold the bits.
    """
    weight_bits, activation_bits = args.weight_bits or args.bits, args.activation_bits or args.bits
    fits = weight_bits <= 8 and activation_bits == 8
    form: Form = args.to or ("onnx" if fits else "scales")
    if form != "scales" and not fits:
        raise InputError(
            f"--to {form}: the files have 8-bit integers, not {weight_bits} bits for weights and {activation_bits}"
            " for activations; leave the bits out, or give --to scales"
        )
    one_scale = args.one_scale
    if form != "scales":  # what the files compute is what is searched for
        weight_bits = weight_bits if args.full_range else min(weight_bits, 7)
        one_scale = True
    return (
        replace(search, weight_bits=weight_bits, activation_bits=activation_bits, two_groups=not one_scale),
        form,
    )

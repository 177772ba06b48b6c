"""Which processors are known to multiply 8-bit integers fast."""

import pytest

from pocketsam.utils import processor


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("flags : fpu sse2 avx2 avx512f avx512_vnni", True),
        ("flags : fpu sse2 avx2", False),
        ("Features : fp asimd asimddp", True),
        ("Features : fp asimd", False),
    ],
)
def test_linux_says_what_its_processor_can(flags, fast, tmp_path, monkeypatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(processor, "CPUINFO", cpuinfo)
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    assert processor.multiplies_int8.__wrapped__() is fast


def test_elsewhere_only_apples_own_are_known(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    found = {}
    for system, machine in (("Darwin", "arm64"), ("Darwin", "x86_64"), ("Windows", "AMD64")):
        monkeypatch.setattr(processor.platform, "system", lambda system=system: system)
        monkeypatch.setattr(processor.platform, "machine", lambda machine=machine: machine)
        found[system, machine] = processor.multiplies_int8.__wrapped__()
    assert [key for key, fast in found.items() if fast] == [("Darwin", "arm64")]

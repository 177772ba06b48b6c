"""What is ONNX Runtime's own; what all engines share is in test_protocol.py, damaged files in test_folder.py."""

import sys

import pytest

from pocketsam.engines.onnx import OnnxEngine


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a process may use all cores")
def test_it_uses_the_cores_that_this_process_may_use(folder, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert OnnxEngine(folder)._graphs["encoder"].get_session_options().intra_op_num_threads == 1
    assert OnnxEngine(folder, threads=2)._graphs["encoder"].get_session_options().intra_op_num_threads == 2

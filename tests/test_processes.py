"""Experiments shared out among processes: the numbers of one, the error of one, and the documented command."""

import inspect
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from d2lstab import network_sweep, process_group
from d2lstab.processes import _until_interrupted, bar_hidden
from tests.shared_grids import INPUTS, grids, network

ROOT = Path(__file__).parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# The manual of process_group holds the script that it describes.
MANUAL = inspect.getdoc(process_group).splitlines()
SCRIPT = textwrap.dedent("\n".join(line for line in MANUAL if line.startswith("    ") or not line)).strip() + "\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo"),
]


def under_torchrun(script: Path, *arguments: Path, timeout: float = 120) -> subprocess.CompletedProcess:
    """The finished command, started beside its script; after too long a time it ends with all its processes."""
    said = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TQDM_DISABLE": ""}
    command, pipe = [*TORCHRUN, script, *arguments], subprocess.PIPE
    with subprocess.Popen(
        command, cwd=script.parent, env=os.environ | said, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as started:
        try:
            output, errors = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, started.returncode, output, errors)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    """The run of two processes, and the folder in which each left what it found."""
    folder = tmp_path_factory.mktemp("processes")
    return under_torchrun(ROOT / "tests" / "shared_grids.py", folder), folder


@pytest.fixture(scope="module")
def processes(finished) -> list[dict]:
    """What each of two processes found."""
    done, folder = finished
    assert [(folder / f"{rank}.pt").exists() for rank in range(2)] == [True, True], done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def one_thread():
    """As many threads as torchrun gives its processes: a sum's rounding hangs on them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(one_thread) -> dict:
    """The same experiments in this process."""
    return grids()


@pytest.mark.parametrize(
    "name", ["network sweep", "network sweep with a grid inside", "remedy matrix", "trainability map"]
)
def test_two_processes_find_the_numbers_of_one_bit_for_bit_and_each_has_all(processes, alone, name):
    for process in processes:
        found, expected = vars(process["grids"][name]), vars(alone[name])
        assert found.keys() == expected.keys()
        for field, value in expected.items():
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(found[field], value, rtol=0, atol=0, equal_nan=True)
            else:
                assert found[field] == value


@pytest.mark.parametrize("name", ["depth sweep", "depth sweep of odd sizes", "depth sweep of one seed"])
def test_a_depth_sweep_in_two_processes_is_that_of_one_to_the_rounding_of_a_batched_product(processes, alone, name):
    for process in processes:
        for field in ("forward", "backward"):
            found, expected = getattr(process["grids"][name], field), getattr(alone[name], field)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_each_process_draws_its_own_seeds_inside_and_all_outside(processes):
    assert [process["drawn"] for process in processes] == [[0, 2, 10, 20, 22, 30], [1, 3, 11, 21, 30]]


def test_an_error_in_one_process_is_raised_in_all_with_its_traceback(processes):
    for process in processes:
        assert process["error"][:2] == ("KeyError", "'seed 3 has no network'")
    cause = processes[0]["error"][2]
    assert cause.startswith("raised in process 1 of 2:\n") and "fails_for_seed" in cause


def test_an_error_that_does_not_travel_is_told(processes):
    assert [process["unreadable error"][:2] for process in processes] == [
        ("Unreadable", "no"),
        ("RuntimeError", "Unreadable: no"),
    ]


def test_processes_that_make_different_calls_are_told_so(processes):
    expected = "the processes share out network_sweep of 3, network_sweep of 4\nexpected the same call in each"
    assert [process["different calls"][:2] for process in processes] == [("RuntimeError", expected)] * 2


def test_only_rank_0_shows_a_progress_bar(processes):
    assert [process["bar hidden"] for process in processes] == [False, True]


def test_a_group_that_was_there_is_used_and_stays(processes):
    expected = network_sweep(network, inputs=INPUTS, seeds=range(4))
    for rank, process in enumerate(processes):
        assert process["rank"] == process["inner rank"] == process["rank in a group that was there"] == rank
        assert process["it stayed"]
        assert torch.equal(process["sweep in a group that was there"].forward, expected.forward)


def test_without_torchrun_there_is_one_process_of_rank_0(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setenv("RANK", "3")  # some job schedulers set it for their own ends
    with process_group() as rank:
        assert rank == 0 and not dist.is_initialized() and not bar_hidden(True)
    assert bar_hidden(False)


def test_the_script_of_the_manual_prints_the_same_line_in_one_process_and_in_two(tmp_path, one_thread, capsys):
    script = tmp_path / "grid.py"
    script.write_text("from tests.jitter import from_environment\nfrom_environment()\n" + SCRIPT)
    done = under_torchrun(script)
    assert done.returncode == 0, done.stderr
    exec(compile(SCRIPT, "grid.py", "exec"), {})  # noqa: S102
    printed = re.sub(r"^\[Gloo\].*\n", "", done.stdout, flags=re.MULTILINE)  # torch 2.8 says whom it has met
    assert printed == capsys.readouterr().out
    assert printed.endswith("of 32 networks learned\n") and printed.count("\n") == 1


def test_a_process_that_dies_between_two_experiments_ends_the_others_with_its_error(finished):
    done, _ = finished
    assert done.returncode != 0
    assert "ValueError: rank 1 has had enough" in done.stderr


def test_a_bar_in_a_notebook_is_a_line_of_text_that_is_empty_in_the_end():
    """A widget would be stored as one that nobody can show again."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    source = """
import os, time
from d2lstab.processes import progress_bar
os.environ.pop("TQDM_DISABLE", None)
def slow():
    for each in progress_bar(range(6), of="points"):
        time.sleep(0.3)
slow()"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    client, seen = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3"), []
    process = client.process_message
    client.process_message = lambda message, *rest: (seen.append(message["content"]), process(message, *rest))[1]
    client.execute()
    (output,) = notebook.cells[0].outputs
    assert output.data == {"text/plain": ""}
    assert any("points:" in content["data"]["text/plain"] for content in seen if "data" in content)


def test_what_was_done_when_the_user_stopped_it_is_kept_and_nothing_is_no_result():
    def work(done):
        yield from range(done)
        raise KeyboardInterrupt

    assert _until_interrupted(work(2)) == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        _until_interrupted(work(0))

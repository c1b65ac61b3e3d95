"""Signals wait for the step in hand, a second Ctrl-C does not, and none disturbs the end."""

import signal
import subprocess
import sys

import pytest

STEPS = """
import os, signal, sys, time
from clintune.core.errors import StoppedError
from clintune.launch.signals import deferred_signals, install_signal_handlers, pending_signal
install_signal_handlers()
try:
    with deferred_signals():
        for step in range(3):
            print("step", flush=True)
            if os.fork() == 0:  # a worker, which the signal of a terminal reaches too
                os.kill(os.getpid(), int(sys.argv[1]))
                os._exit(0)
            assert os.wait()[1] == 0
            sys.stdin.readline()
            print("asked", pending_signal(), flush=True)
except StoppedError as error:
    print(error)
"""
VERB = """
import sys, time
from clintune import cli
def wait(argv):
    print("ready", flush=True)
    time.sleep(60)
cli.VERBS["wait"] = ("__main__:wait", "Wait.")
def slow_end():
    print("ending", file=sys.stderr, flush=True)
    time.sleep(0.3)
import atexit
atexit.register(slow_end)
sys.exit(cli.main(["wait"]))
"""


def start(code, *words, before=()):
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_waits_for_the_step_and_does_nothing_to_workers(number):
    with start(STEPS, number) as process:
        process.stdout.readline()
        process.send_signal(number)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"asked {number}\n"
        process.stdout.readline()
        process.send_signal(number)
        rest, errors = process.communicate("\n\n")
    once_more = "stopped by SIGINT; run the same command again\n"
    assert rest == (
        once_more if number == signal.SIGINT else f"asked {number}\nstep\nasked {number}\n"
    )
    assert not errors


def test_what_nohup_ignores_stays_ignored():
    with start(STEPS, 0, before=["nohup"]) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        rest, _ = process.communicate("\n\n\n")
    assert rest == "asked 0\nstep\nasked 0\nstep\nasked 0\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_stopped_verb_says_so_once(number):
    with start(VERB) as process:
        process.stdout.readline()
        process.send_signal(number)
        assert (
            process.stderr.readline()
            == f"clintune: stopped by {number.name}; run the same command again\n"
        )
        for _ in range(3):
            process.send_signal(number)
        assert process.stderr.readline() == "ending\n"
        process.send_signal(number)
        assert process.communicate()[1] == ""
    assert process.returncode == 128 + number

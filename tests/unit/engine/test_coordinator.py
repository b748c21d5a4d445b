"""A process of the server's ends with it, also when the server is killed."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_process_ends_when_its_starter_is_killed_and_prints_to_stderr() -> None:
    starter = textwrap.dedent("""
        import sys, threading
        from genir_server.engine.vllm.coordinator import ServersProcess

        if __name__ == "__main__":
            # Like vLLM's coordinator, the child waits for messages that do not come.
            child = ServersProcess(target=exec, args=(
                "import threading; print('runs', flush=True); threading.Event().wait()",
            ))
            child.start()
            child.join()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", starter],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "runs\n"
        process.kill()
        # The pipes reach their end when the last process that holds them has ended.
        output, _ = process.communicate(timeout=60)
        assert output == ""

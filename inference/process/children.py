"""Processes that we start to share work with."""

import multiprocessing
import os
import threading
from multiprocessing.process import BaseProcess


def exit_with_parent() -> None:
    """In the child: end when the parent does, however that ends. Idle workers of a pool would wait for ever."""
    parent = multiprocessing.parent_process()

    def watch(parent: BaseProcess) -> None:
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, args=(parent,), daemon=True).start()

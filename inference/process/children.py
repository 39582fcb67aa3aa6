"""Processes that we start to share work with."""

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """In the child: end when the parent does, however that ends. Idle workers of a pool would wait for ever."""

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

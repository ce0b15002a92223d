"""What the example's apps share: how a CLAMS app here is locked, started and given its annotations."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from clams import ClamsApp, Restifier
from mmif import DocumentTypes, Mmif, View


class RecordingApp(ClamsApp):
    """A CLAMS app that looks at the recordings of an MMIF document one after the other.

    A subclass says what it finds in one recording (`annotate_recording`); its `metadata.py` beside it says
    what it is. `warm_up` is called once in the process that will do the work.
    """

    def __init__(self) -> None:
        super().__init__()
        self._one_at_a_time = threading.Lock()

    def _appmetadata(self) -> None:
        """Clams-python reads `metadata.py` instead."""

    def warm_up(self) -> None:
        """Load what is slow to load."""

    def annotate(self, mmif: Any, **parameters: list[str]) -> str:
        # clams-python collects warnings in a way that is not safe between threads. So the work is done one
        # at a time, and the second thread of the server is there to answer GET meanwhile.
        with self._one_at_a_time:
            return str(super().annotate(mmif, **parameters))

    def _annotate(self, mmif: Mmif, **parameters: Any) -> Mmif:
        documents = mmif.get_documents_by_type(DocumentTypes.VideoDocument)
        if not documents:
            raise ValueError("the MMIF holds no VideoDocument of a type that this app knows")
        for document in documents:
            view = mmif.new_view()
            self.sign_view(view, parameters)
            self.annotate_recording(mmif, document, view, **parameters)
        return mmif

    def annotate_recording(self, mmif: Mmif, document: Any, view: View, **parameters: Any) -> None:
        """Look at one recording and add what is found in it to the view."""
        raise NotImplementedError


def serve(app: RecordingApp) -> None:
    """Serve the app over HTTP until SIGTERM, as the command line says: on a port, or on a socket handed over."""
    parser = argparse.ArgumentParser(description=app.metadata.description)
    parser.add_argument("--port", type=int, default=5000, help="port on 127.0.0.1")
    parser.add_argument("--fd", type=int, help="a listening socket inherited from the parent, instead of a port")
    arguments = parser.parse_args()
    bind = f"127.0.0.1:{arguments.port}" if arguments.fd is None else f"fd://{arguments.fd}"
    # One process, never replaced: the text reader is slow to load, and these apps leave nothing behind.
    Restifier(app, debug=False).serve_production(
        bind=bind,
        workers=1,
        threads=2,
        max_requests=0,
        accesslog=None,
        control_socket_disable=True,
        post_worker_init=lambda _worker: app.warm_up(),
    )

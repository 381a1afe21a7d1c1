"""A camera elsewhere: a server of RTSP for one who watches at a time, which sends H.264 over TCP or UDP (RFC 2326)."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from tests.conftest import require
from tests.serving.conftest import paint

_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
_FORMAT = "a=fmtp:96 packetization-mode=1\r\na=control:track\r\n"


class Door:
    """A server that gives twenty pictures a second until it is switched off.

    Args:
        transport: ``tcp`` or ``udp``: what it knows. It refuses the other.
        port: 0 takes a free one.

    Attributes:
        asked: The methods of all requests.
        stuck: While it is set nothing is sent, and nobody is told.
    """

    def __init__(self, transport: str, port: int = 0) -> None:
        self.transport = transport
        self.listening = socket.create_server(("127.0.0.1", port))
        self.port = self.listening.getsockname()[1]
        self.asked: list[str] = []
        self.stuck = threading.Event()
        self._ended = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/door"

    def switch_off(self) -> None:
        """As if the cable were pulled out of the camera and its port were gone."""
        self._ended.set()
        for one in (self.listening, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        held, to = b"", 0
        with suppress(OSError):
            while data := connection.recv(4096):
                held += data
                while b"\r\n\r\n" in held:
                    request, _, held = held.partition(b"\r\n\r\n")
                    # What comes before may be a report of the one who watches, which nobody reads.
                    text = request.decode("latin-1")
                    method = re.findall(r"([A-Z_]+) rtsp:", text)[-1]
                    self.asked.append(method)
                    ports = re.search(r"client_port=(\d+)", text)
                    to = int(ports[1]) if ports else to
                    connection.sendall(self._answer(method, text).encode())
                    if method == "PLAY":
                        self._threads.append(threading.Thread(target=self._play, args=(connection, to)))
                        self._threads[-1].start()

    def _answer(self, method: str, text: str) -> str:
        lines = text.split("\r\n")
        status, more, body = "200 OK", ["Session: 1;timeout=60"], ""
        if method == "DESCRIBE":
            body = _SDP + _FORMAT
            more += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            transport = next(line for line in lines if line.lower().startswith("transport:"))
            if ("client_port" in transport) != (self.transport == "udp"):
                status = "461 Unsupported Transport"
            else:
                more.append(f"{transport};server_port=5000-5001" if self.transport == "udp" else transport)
        sequence = next(line for line in lines if line.lower().startswith("cseq"))
        return "\r\n".join([f"RTSP/1.0 {status}", sequence, *more, "", body])

    def _play(self, connection: socket.socket, to: int) -> None:
        """Let ffmpeg write packets to a port of ours, and pass them on."""
        av = require("av")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets, suppress(OSError):
            packets.bind(("127.0.0.1", 0))
            packets.setblocking(False)
            options = {"tune": "zerolatency", "g": "5"}
            with av.open(f"rtp://127.0.0.1:{packets.getsockname()[1]}", "w", format="rtp") as container:
                stream = container.add_stream("libx264", rate=20, options=options)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                number = 0
                while not self._ended.is_set():
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(paint(number), format="rgb24")))
                    if not self.stuck.is_set():
                        self._pass_on(packets, connection, to)
                    number += 1
                    time.sleep(0.05)

    @staticmethod
    def _pass_on(packets: Any, connection: socket.socket, to: int) -> None:
        with suppress(BlockingIOError):
            while packet := packets.recv(65536):
                if to:
                    packets.sendto(packet, ("127.0.0.1", to))
                else:
                    connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)

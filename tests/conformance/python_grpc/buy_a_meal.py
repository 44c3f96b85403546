#!/usr/bin/env python3
"""Buys a meal as a fridge of another make would: from the protocol file and endpoints.json alone.

Nothing of the product is imported. The protocol is compiled with grpcio-tools, the card is sealed with HPKE (RFC 9180)
written out below over the `cryptography` package, and what was bought is looked up as an operator over mutual TLS.

usage: buy_a_meal.py ENDPOINTS.json
"""
import hashlib
import hmac
import http.client
import importlib
import json
import queue
import ssl
import sys
import tempfile
import time
import uuid
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc_tools import protoc

TEST_CARD = b"4111111111111111=3012"  # a published test number
PROTO = "larder/purchase/v1/purchase.proto"


def compile_protocol(protos):
    """The protocol's modules, generated into a folder of their own."""
    out = tempfile.mkdtemp()
    if protoc.main(["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", PROTO]) != 0:
        sys.exit("the protocol file does not compile")
    sys.path.insert(0, out)
    return importlib.import_module("larder.purchase.v1.purchase_pb2"), importlib.import_module(
        "larder.purchase.v1.purchase_pb2_grpc"
    )


def labeled_extract(suite, salt, label, ikm):
    return hmac.new(salt, b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def labeled_expand(suite, prk, label, info, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


def seal(public_key, info, aad, plain):
    """RFC 9180 base mode: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM. Returns (enc, cipher text)."""
    kem, hpke = b"KEM\x00\x10", b"HPKE\x00\x10\x00\x01\x00\x01"
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    enc = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    dh = ephemeral.exchange(ec.ECDH(), receiver)
    shared = labeled_expand(kem, labeled_extract(kem, b"", b"eae_prk", dh), b"shared_secret", enc + public_key, 32)
    context = (
        b"\x00" + labeled_extract(hpke, b"", b"psk_id_hash", b"") + labeled_extract(hpke, b"", b"info_hash", info)
    )
    secret = labeled_extract(hpke, shared, b"secret", b"")
    key = labeled_expand(hpke, secret, b"key", context, 16)
    nonce = labeled_expand(hpke, secret, b"base_nonce", context, 12)
    return enc, AESGCM(key).encrypt(nonce, plain, aad)


class Operator:
    """Reads the services outside the PCI zone."""

    def __init__(self, endpoints):
        who = endpoints["clients"]["operator"]
        self.services = endpoints["services"]
        self.tls = ssl.create_default_context(cafile=endpoints["trust_bundle"])
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.load_cert_chain(who["certificate"], who["key"])

    def get(self, service, path):
        host, port = self.services[service].rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), context=self.tls, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None


def numbered(pb, session):
    """Makes the fridge's messages: 1, 2, 3 …"""
    sequence = 0

    def make(**body):
        nonlocal sequence
        sequence += 1
        return pb.FridgeMessage(
            session_id=session, sequence=sequence, device_time_us=int(time.time() * 1e6), **body
        )

    return make


def buy(pb, rpc, stub, fridge, barcode):
    key = stub.SealingKey(pb.SealingKeyRequest(), timeout=10)
    session = str(uuid.uuid4())
    aad = fridge.encode() + b"\0" + session.encode()
    enc, text = seal(key.public_key, b"larder sealed card v1", aad, TEST_CARD)
    card = pb.SealedCard(key_id=key.key_id, encapsulated_key=enc, cipher_text=text)
    message = numbered(pb, session)
    unlocked = []

    outgoing = queue.Queue()
    outgoing.put(message(open=pb.Open(card=card)))
    answers = stub.Purchase(iter(outgoing.get, None), timeout=30)
    receipt = None
    for answer in answers:
        kind = answer.WhichOneof("body")
        if kind == "unlock":
            unlocked.append(answer.unlock)
            outgoing.put(message(door_opened=pb.DoorOpened()))
            outgoing.put(message(touch=pb.Touch(kind=pb.Touch.KIND_TAKEN, barcode=barcode)))
            outgoing.put(message(door_closed=pb.DoorClosed()))
        elif kind == "refused":
            sys.exit(f"refused: {answer.refused.reason}")
        elif kind == "receipt":
            receipt = answer.receipt
            outgoing.put(None)
    assert unlocked, "the door was never unlocked"
    assert receipt is not None, "there was no receipt"
    return session, receipt


def main():
    endpoints = json.loads(Path(sys.argv[1]).read_text())
    pb, rpc = compile_protocol(endpoints["protos"])
    operator = Operator(endpoints)
    fridge = sorted(name for name in endpoints["clients"] if name.startswith("FR-"))[0]
    status, page = operator.get("inventory", f"/meals?fridge={fridge}&state=placed&page_size=1000")
    assert status == 200, page
    meal = next(meal for meal in page["meals"] if meal.get("owner") is None)
    price = next(
        row for row in operator.get("inventory", "/meal-types?page_size=1000")[1]["meal_types"] if row["gtin"] == meal["gtin"]
    )["price"]["minor"]

    who = endpoints["clients"][fridge]
    credentials = grpc.ssl_channel_credentials(
        Path(endpoints["trust_bundle"]).read_bytes(),
        Path(who["key"]).read_bytes(),
        Path(who["certificate"]).read_bytes(),
    )
    with grpc.secure_channel(endpoints["services"]["purchase-session"], credentials) as channel:
        stub = rpc.PurchaseSessionStub(channel)
        session, receipt = buy(pb, rpc, stub, fridge, meal["barcode"])
    assert receipt.outcome == "charged", receipt
    assert receipt.charged.minor == price, (receipt, price)

    until = time.time() + 20
    while True:
        status, booked = operator.get("status", f"/sessions/{session}")
        if status == 200 and booked.get("settlement") == "captured":
            break
        assert time.time() < until, (status, booked)
        time.sleep(0.1)
    assert booked["meals"] == [meal["barcode"]], booked
    print(f"bought {meal['barcode']} at {fridge} for {receipt.charged.minor} {receipt.charged.currency}; "
          f"session {session} is booked and captured")


if __name__ == "__main__":
    main()

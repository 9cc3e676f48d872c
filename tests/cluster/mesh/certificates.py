"""Certificates for tests, signed by an authority that a test makes for itself."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.mesh import TlsFiles


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key):
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
    )


class Authority:
    def __init__(self, name="authority"):
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cert = (
            _builder(name, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def write(self, folder, subject):
        """Write the three files of a node; replaces what is there, as a renewal does."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = _builder(subject, self.name, key).sign(self._key, hashes.SHA256())
        folder.mkdir(exist_ok=True)
        files = TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
        for path, data in (
            (files.cert, cert.public_bytes(serialization.Encoding.PEM)),
            (
                files.key,
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            ),
            (files.ca, self._cert.public_bytes(serialization.Encoding.PEM)),
        ):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.replace(path)
        return files

"""Changes the token in an invite code and makes the checksum right again: a guesser's code.

    forge_code.py CODE
"""

import base64
import hashlib
import sys

text = sys.argv[1].replace("-", "")
data = bytearray(base64.b32decode(text + "=" * (-len(text) % 8)))
data[1] ^= 0xFF
data[-4:] = hashlib.sha256(data[:-4]).digest()[:4]
text = base64.b32encode(bytes(data)).decode().rstrip("=")
print("-".join(text[at : at + 4] for at in range(0, len(text), 4)))

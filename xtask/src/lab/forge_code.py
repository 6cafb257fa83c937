"""Changes one field of an invite code and makes the checksum right again.

    forge_code.py token CODE    a guesser's code
    forge_code.py expiry CODE   a code that ended one minute after 1970 began
"""

import base64
import hashlib
import sys

field, text = sys.argv[1], sys.argv[2].replace("-", "")
data = bytearray(base64.b32decode(text + "=" * (-len(text) % 8)))
if field == "token":
    data[1] ^= 0xFF
else:
    data[49:53] = (1).to_bytes(4, "big")
data[-4:] = hashlib.sha256(data[:-4]).digest()[:4]
text = base64.b32encode(bytes(data)).decode().rstrip("=")
print("-".join(text[at : at + 4] for at in range(0, len(text), 4)))

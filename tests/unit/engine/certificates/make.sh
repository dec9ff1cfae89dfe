#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the certificates of the TLS tests anew, in this folder. Needs openssl 3. They last a hundred
# years, and their keys protect nothing.
set -eu
cd "$(dirname "$0")"
days=36500

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

# authority NAME: a self-signed one.
authority() {
    key "$1"
    openssl req -x509 -new -key "$1.key" -sha256 -days $days -subj "/CN=Penstock test $1" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -out "$1.pem"
}

# issue AUTHORITY NAME SUBJECT [SUBJECTALTNAME]: NAME.pem holds the certificate and its key.
issue() {
    key "$2"
    openssl req -new -key "$2.key" -subj "$3" -out "$2.csr"
    {
        echo "basicConstraints=CA:FALSE"
        if [ -n "${4:-}" ]; then echo "subjectAltName=$4"; fi
    } > "$2.ext"
    openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -sha256 \
        -days $days -extfile "$2.ext" -out "$2.crt"
    cat "$2.crt" "$2.key" > "$2.pem"
    rm -f "$2.csr" "$2.ext"
}

rm -rf ./*.pem ./*.key ./*.crt ./*.srl ./*.crl split folder
authority ca
authority other-ca
issue ca default "/CN=default.example" "DNS:default.example,DNS:localhost,IP:127.0.0.1"
issue ca one "/CN=one.example" "DNS:one.example,DNS:also-one.example"
issue ca wild "/CN=*.wild.example" "DNS:*.wild.example"
issue ca named "/CN=named.example"
issue ca client "/CN=a client/O=Penstock"
issue ca revoked "/CN=a revoked client"
issue other-ca stranger "/CN=a stranger"

# The revocation list.
mkdir work
: > work/index
echo 01 > work/number
cat > work/ca.cnf <<END
[ca]
default_ca = own
[own]
database = work/index
crlnumber = work/number
default_md = sha256
default_crl_days = $days
END
openssl ca -config work/ca.cnf -cert ca.pem -keyfile ca.key -revoke revoked.crt
openssl ca -config work/ca.cnf -cert ca.pem -keyfile ca.key -gencrl -out revoked.crl
rm -rf work

# The key beside the certificate, as the option crt takes it too.
mkdir split
cp one.crt split/one.crt
cp one.key split/one.crt.key
# A folder of bundles.
mkdir folder
cp one.pem wild.pem folder/
rm -f ./*.crt ./*.key ./*.srl

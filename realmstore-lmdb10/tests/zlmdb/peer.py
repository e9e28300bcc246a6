"""The peer of the tests beside zLMDB: it opens a store as Crossbar.io does, and does as it is told.

    peer.py PATH MAP_SIZE

Each line of standard input is a command, each answer a line that ends with "done":

    put KEY LENGTH      commits a value of zeros
    len KEY             tells the length of a value, -1 where there is none
    number              tells the number of the last commit
"""

import sys

import zlmdb.lmdb as lmdb


def answer(text=""):
    print(text, "done", flush=True)


def main():
    env = lmdb.open(sys.argv[1], map_size=int(sys.argv[2]), lib_version=1)
    print("open", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "put":
            with env.begin(write=True) as txn:
                txn.put(arguments[0].encode(), bytes(int(arguments[1])))
            answer()
        elif command == "len":
            with env.begin() as txn:
                value = txn.get(arguments[0].encode())
                answer(-1 if value is None else len(value))
        elif command == "number":
            answer(env.info()["last_txnid"])
    env.close()


main()

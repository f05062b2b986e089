"""`python -m scrubjay`: what the package does from the command line.

The tools of a folder are those of the `scrubjay` command, by the same code in the native module; `import` is the package's own.
"""

import argparse
import signal
import sys

from scrubjay import _native

EXAMPLES = """examples:
  python -m scrubjay import /var/cache/app --into /var/cache/app-scrubjay
  python -m scrubjay import ~/.cache/mine --into ~/.cache/new --allow-pickle
"""


def main(arguments=None):
    """Runs a command; the status to exit with."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["import"]:
        return _import(_import_parser().parse_args(arguments[1:]))
    return _tool(arguments)


def _tool(arguments):
    # Native code does not see the interpreter's handler, which would wait for it to end.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _native.command(["python -m scrubjay", *arguments])
    finally:
        signal.signal(signal.SIGINT, before)


def _import_parser():
    bring = argparse.ArgumentParser(
        prog="python -m scrubjay import",
        description="Reads a folder that diskcache 5.6 wrote (Cache or FanoutCache) and stores its entries with their tags "
        "and what is left of their time to live. The folder stays as it is.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bring.add_argument("folder", metavar="DIR", help="the folder that diskcache wrote")
    bring.add_argument("--into", metavar="DIR", required=True, help="where scrubjay.compat.diskcache keeps its entries")
    bring.add_argument(
        "--size-limit", type=int, default=1 << 30, metavar="BYTES", help="what the new folder may take (default: 1 GiB)"
    )
    bring.add_argument(
        "--allow-pickle",
        action="store_true",
        help="bring pickled keys and values too; this runs whatever they say, so only for folders that nobody else could "
        "write to",
    )
    return bring


def _import(options):
    from scrubjay.compat.diskcache import Cache
    from scrubjay.compat.diskcache._bring import bring

    try:
        cache = Cache(options.into, size_limit=options.size_limit, allow_pickle=options.allow_pickle)
        brought, left = bring(options.folder, cache, options.allow_pickle, _progress())
    except (OSError, ValueError) as error:
        print(f"scrubjay: {error}", file=sys.stderr)
        return 1
    print(f"{brought} entries brought, {left} left")
    if left and not options.allow_pickle:
        print("What was left is pickled; if nobody else could write to the folder, --allow-pickle brings it.")
    return 0


def _progress():
    if not sys.stderr.isatty():
        return None

    def show(done, total):
        end = "\n" if done == total else ""
        print(f"\r{done:>{len(str(total))}} of {total}", end=end, file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())

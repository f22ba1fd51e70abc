"""Plays the clients of other trainers and tools against running keel serve and says what fails.

python3 tests/serve/compat/compat.py --keel build/keel --helpfulness DIR --safety DIR [--only NAME ...]

DIR are reward models of the llama2 chat format. The program starts the services itself, on ports 8200 to 8299 of 127.0.0.1, compares every
score with keel score, and prints one line a check: ok, FAIL with the reason, or skipped. It ends with 1 where a check failed. Packages:
requirements.txt.
"""
import argparse
import logging
import sys

try:
    from clients import auth, llama_factory, openrlhf, real_clients, slime, tei, verl, vllm
    from service import Skipped, both_models, make_setup, serve
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed: pip install -r requirements.txt, which lies beside this program")

MODULES = {"openrlhf": openrlhf, "verl": verl, "slime": slime, "llama_factory": llama_factory, "vllm": vllm, "tei": tei, "auth": auth,
           "real_clients": real_clients}


def checks_of(module):
    return [check for name, check in vars(module).items() if name.startswith("check_")]


def outcome(check, setup):
    """Makes the check, prints its line and says how it went: ok, FAIL or skipped."""
    name = f"{check.__module__.removeprefix('clients.')}: {check.__doc__}"
    try:
        check(setup)
    except Skipped as reason:
        print(f"skipped: {reason} ({name})", flush=True)
        return "skipped"
    except Exception as problem:
        reason = " ".join(f"{type(problem).__name__}: {problem}".removeprefix("AssertionError: ").split())
        print(f"FAIL     {name}: {reason[:300]}", flush=True)
        return "FAIL"
    print(f"ok       {name}", flush=True)
    return "ok"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keel", required=True, metavar="BINARY")
    parser.add_argument("--helpfulness", required=True, metavar="DIR")
    parser.add_argument("--safety", required=True, metavar="DIR")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=MODULES, help=", ".join(MODULES))
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of the clients: what they meet is in the lines here
    folders = {"helpfulness": given.helpfulness, "safety": given.safety}
    with serve(given.keel, *both_models(folders), "--set", "embeddings=true") as url:
        setup = make_setup(given.keel, folders, url)
        outcomes = [outcome(check, setup) for name in given.only or MODULES for check in checks_of(MODULES[name])]
    print(f"{outcomes.count('ok')} ok, {outcomes.count('FAIL')} failed, {outcomes.count('skipped')} skipped")
    return 1 if "FAIL" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())

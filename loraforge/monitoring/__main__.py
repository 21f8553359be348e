import sys

from loraforge.monitoring.process import run

if __name__ == "__main__":
    run(sys.argv[1:])

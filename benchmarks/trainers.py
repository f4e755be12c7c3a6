"""One training process for `bench_train`: our trainer, one step for each line that it reads.

python -m benchmarks.trainers CONFIG.json      `step` -> seconds, `facts` -> peak memory
"""

import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    from core.config.train_config import TrainConfig
    from core.trainer.build_context import build_context
    from core.trainer.trainer import Trainer

    trainer = Trainer(build_context(TrainConfig.from_json(Path(sys.argv[1])), resume=False), [])
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "step":
            trainer.step()
            answer: dict[str, float] = {"seconds": time.perf_counter() - start}
        else:
            answer = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""One training process for `bench_train`: our trainer, one step for each line that it reads.

python -m benchmarks.trainers CONFIG.json      `step` -> seconds and those of the processor, `facts` -> peak memory
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
        start, busy = time.perf_counter(), time.process_time()
        if line.strip() == "step":
            trainer.step()
            answer: dict[str, float] = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - busy}
        else:
            answer = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""What `gatt.compare` can be told."""

from dataclasses import dataclass, field


@dataclass
class CompareConfig:
    """One field a choice; the first evaluation is the baseline."""

    evaluations: list[str] = field(metadata={"help": "output folders of gatt.evaluate, the baseline first"})
    names: list[str] = field(default_factory=list, metadata={"help": "of the models; default: the folders' names"})
    output_dir: str = field(default="", metadata={"help": "receives adherence.md, adherence.png and run.json"})
    seed: int = field(default=0, metadata={"help": "taken as by every stage; nothing here is random"})

    def __post_init__(self):
        self.names = self.names or list(self.evaluations)
        if len(set(self.names)) != len(self.evaluations):
            raise ValueError(
                f"names: found {self.names}; expected a different one for each of {len(self.evaluations)} evaluations"
            )

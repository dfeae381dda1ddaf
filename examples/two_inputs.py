"""Two inputs, a DataLoader of dicts, a loss and an optimizer of one's own: ``python examples/two_inputs.py``."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

import netwright


class Halves(Dataset):
    """Upper and lower half of a digit, by name."""

    def __init__(self, first: int, last: int) -> None:
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images[first:last] / 16, dtype=torch.float32)
        self.labels = torch.tensor(labels[first:last])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        image = self.images[position]
        return {"upper": image[:32], "lower": image[32:], "label": self.labels[position]}


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.upper, self.lower = nn.Linear(32, 32), nn.Linear(32, 32)
        self.head = nn.Linear(64, 10)

    def forward(self, upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(torch.cat([self.upper(upper), self.lower(lower)], dim=1)))


if __name__ == "__main__":
    network = Joined()
    run = netwright.fit(
        network,
        DataLoader(Halves(0, 1400), batch_size=50, shuffle=True),
        DataLoader(Halves(1400, 1797), batch_size=200),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(network.parameters(), lr=0.003),
        epochs=5,
    )
    print(f"{run.metrics['validation']['accuracy']:.1%} right; {run.directory / 'report.html'}")

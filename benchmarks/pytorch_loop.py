"""The plain way to distill a BERT, in PyTorch: what the other benchmarks are compared with.

Written from the paper (Jiao et al. 2020, sections 3 and 4) and from what its authors tell of their runs: everything is padded to
the task's full length, the teacher is in float32 and computes and keeps every layer, each layer's losses are means over all
positions, and AdamW updates every parameter. Weights are random: they do not change what a step costs.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

# Attention logits below this belong to padding.
_MASKED = -1e2


class Layer(nn.Module):
    def __init__(self, size: int, heads: int, intermediate: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(size, size) for _ in range(4))
        self.expand, self.contract = nn.Linear(size, intermediate), nn.Linear(intermediate, size)
        self.norms = nn.ModuleList(nn.LayerNorm(size, eps=1e-12) for _ in range(2))

    def forward(self, hidden, mask):
        batch, seq, size = hidden.shape

        def split(x):  # [B, S, D] -> [B, H, S, D / H]
            return x.view(batch, seq, self.heads, size // self.heads).transpose(1, 2)

        query, key, value = (split(dense(hidden)) for dense in (self.query, self.key, self.value))
        logits = query @ key.transpose(-1, -2) / math.sqrt(size // self.heads) + mask
        context = (logits.softmax(-1) @ value).transpose(1, 2).reshape(batch, seq, size)
        hidden = self.norms[0](hidden + self.output(context))
        return self.norms[1](hidden + self.contract(functional.gelu(self.expand(hidden)))), logits


class Bert(nn.Module):
    """Gives the hidden states and attention logits of every layer, and the logits of two classes."""

    def __init__(
        self, layers: int, size: int, heads: int, intermediate: int, vocabulary: int = 30522, classes: int = 2
    ):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count, size) for count in (vocabulary, 512, 2))
        self.norm = nn.LayerNorm(size, eps=1e-12)
        self.layers = nn.ModuleList(Layer(size, heads, intermediate) for _ in range(layers))
        self.pooler, self.classifier = nn.Linear(size, size), nn.Linear(size, classes)

    def forward(self, words, types, mask):
        places = torch.arange(words.shape[1])[None]
        hidden = self.norm(sum(table(ids) for table, ids in zip(self.tables, (words, places, types), strict=True)))
        added = (1.0 - mask[:, None, None, :].float()) * -10000.0
        states, attention = [hidden], []
        for layer in self.layers:
            hidden, logits = layer(hidden, added)
            states.append(hidden)
            attention.append(logits)
        return states, attention, self.classifier(self.pooler(hidden[:, 0]).tanh())


class Training:
    """One training step after the other.

    Args:
        stage: "intermediate" (attention, hidden and embedding losses), "prediction" (soft cross-entropy), "labels" (no teacher).
        student, teacher: (layers, hidden size, heads, intermediate size).
    """

    def __init__(self, stage: str, student: Sequence[int], teacher: Sequence[int] | None = None):
        torch.manual_seed(0)
        self.stage, self.student = stage, Bert(*student)
        parameters = [*self.student.parameters()]
        if teacher is not None:
            self.teacher = Bert(*teacher).eval()
            self.projection = nn.Linear(student[1], teacher[1])
            self.every = teacher[0] // student[0]
            parameters += self.projection.parameters()
        self.optimizer = torch.optim.AdamW(parameters, lr=5e-5, weight_decay=0.01)

    def step(self, words, types, mask, labels) -> float:
        """One update; arguments are int arrays [B, S] and labels [B]."""
        words, types, mask, labels = (torch.as_tensor(array).long() for array in (words, types, mask, labels))
        states, attention, logits = self.student(words, types, mask)
        if self.stage == "labels":
            loss = functional.cross_entropy(logits, labels)
        else:
            with torch.no_grad():
                teacher_states, teacher_attention, teacher_logits = self.teacher(words, types, mask)
            if self.stage == "prediction":
                loss = -(teacher_logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
            else:
                loss = self._layers_loss(states, attention, teacher_states, teacher_attention)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _layers_loss(self, states, attention, teacher_states, teacher_attention):
        loss = 0.0
        for own, other in zip(attention, teacher_attention[self.every - 1 :: self.every], strict=True):
            own, other = (torch.where(logits <= _MASKED, torch.zeros_like(logits), logits) for logits in (own, other))
            loss = loss + functional.mse_loss(own, other)
        for own, other in zip(states, teacher_states[:: self.every], strict=True):
            loss = loss + functional.mse_loss(self.projection(own), other)
        return loss

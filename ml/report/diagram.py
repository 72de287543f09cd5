"""The network as a picture and as tables, all taken from the module itself.

`torch.fx` (Reed et al. 2022, https://arxiv.org/abs/2112.08429) records which module's output goes
where; a black image sent through gives the shapes. Nothing here knows of any one network.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jinja2 import Template
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

WIDTH, LINE, GAP = 158, 15, (16, 24)  # of a box; of a line of text; between boxes


@dataclass
class Block:
    """Modules that follow one another, drawn as one box."""

    owner: str  # blocks of one owner that follow one another become one
    names: list[str]
    kinds: list[str]
    shape: tuple[int, ...]  # of what comes out, without the batch
    parameters: int
    inputs: list["Block"]
    answers: list[str] = field(default_factory=list)  # which of the network's answers it gives
    rank: int = 0
    column: int = 0
    top: int = 0
    height: int = 0

    @property
    def name(self) -> str:
        """The modules' names; `features.0` to `features.6` in short."""
        numbers = [name.removeprefix(f"{self.owner}.") for name in self.names]
        if all(number.isdigit() for number in numbers):
            return f"{self.owner} {'-'.join(dict.fromkeys((numbers[0], numbers[-1])))}"
        return ", ".join(dict.fromkeys(self.names))

    @property
    def made_of(self) -> str:
        """The modules' kinds; those that repeat once, with their number."""
        runs = ((kind, len(list(same))) for kind, same in groupby(self.kinds))
        return ", ".join(f"{number} x {kind}" if number > 1 else kind for kind, number in runs)

    @property
    def lines(self) -> list[str]:
        """What stands in the box after its name's lines."""
        parameters = [f"{self.parameters:,} parameters"] if self.parameters else []
        return [" x ".join(map(str, self.shape)), *parameters, *self.answers]

    @property
    def title(self) -> list[str]:
        """The name, in lines that fit the box."""
        return textwrap.wrap(self.name, 20)

    @property
    def left(self) -> int:
        """Where the box begins."""
        return 1 + self.column * (WIDTH + GAP[0])


@dataclass(frozen=True)
class Layer:
    """One row of the layer table."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Open plain sequences alone: every other module is a step of its own."""
        return type(m) is not nn.Sequential


def blocks(network: nn.Module, size: int = 224) -> list[Block]:
    """What the network is made of, in the order of computation, each with its place."""
    graph = _Tracer().trace(network)
    traced = fx.GraphModule(network, graph)
    ShapeProp(traced).propagate(_black(network, size))
    made: dict[fx.Node, Block] = {}
    for node in graph.nodes:
        before = [each for each in node.all_input_nodes if each in made]
        fields = getattr(node.target, "_fields", None)
        if fields:  # the named tuple that the network answers with
            for name, source in zip(fields, before, strict=True):
                made[source].answers.append(name)
        elif node.op == "placeholder" or (before and node.op != "output"):
            made[node] = _joined(_block(node, network), before, made)
    # A block stands where its last step does: by then all that it takes is there.
    found = list({id(block): block for block in reversed(made.values())}.values())[::-1]
    _place(found)
    return found


def layers(network: nn.Module, size: int = 224) -> list[Layer]:
    """Every module without children, in the order of computation."""
    rows: list[Layer] = []

    def note(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            rows.append(Layer(name, type(module).__name__, (*output.shape[1:],), _count(module)))

        return module.register_forward_hook(hook)

    leaves = [(name, m) for name, m in network.named_modules() if not list(m.children())]
    hooks = [note(name, module) for name, module in leaves]
    with torch.no_grad():
        network(_black(network, size))
    for hook in hooks:
        hook.remove()
    return rows


def draw(found: Sequence[Block]) -> str:
    """The blocks as boxes with arrows between them: SVG that takes the page's colour as its ink."""
    template = (
        Path(__file__)
        .with_name("templates")
        .joinpath("network.svg.jinja")
        .read_text(encoding="utf-8")
    )
    svg = Template(template, autoescape=True, trim_blocks=True).render(
        blocks=found,
        box=WIDTH,
        edges=[_path(source, block) for block in found for source in block.inputs],
        width=max(block.left for block in found) + WIDTH + 1,
        height=max(block.top + block.height for block in found) + 1,
    )
    return str(svg)


def _path(source: Block, block: Block) -> str:
    """Straight down in one column; to the right and down; down and to the left."""
    start, end = source.left + WIDTH // 2, block.left + WIDTH // 2
    bottom = source.top + source.height
    if source.column == block.column:
        return f"M{start} {bottom}V{block.top}"
    if source.column < block.column:
        return f"M{source.left + WIDTH} {source.top + source.height * 2 // 3}H{end}V{block.top}"
    return f"M{start} {bottom}V{block.top + block.height // 3}H{block.left + WIDTH}"


def _black(network: nn.Module, size: int) -> Tensor:
    return torch.zeros(1, 3, size, size, device=next(network.parameters()).device)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _block(node: fx.Node, network: nn.Module) -> Block:
    """One step of the traced computation as a block of its own."""
    tensor = node.meta["tensor_meta"].shape
    shape = tuple(int(length) for length in tensor[1:])
    if node.op == "placeholder":
        return Block("image", ["image"], ["RGB, normalised"], shape, 0, [])
    if node.op == "call_module":
        name = str(node.target)
        module = network.get_submodule(name)
        owner = name.split(".")[0] if list(module.children()) else "plain"
        return Block(owner, [name], [type(module).__name__], shape, _count(module), [])
    function = str(getattr(node.target, "__name__", node.target))
    if function == "add":
        return Block("sum", ["sum"], [function], shape, 0, [])
    # Parameters of a module that a function takes are counted where the module stands.
    lent = sorted({owner for each in node.all_input_nodes for owner in _owners(each)})
    name = f"{function}({', '.join(lent)})" if lent else function
    return Block("plain", [name], [function], shape, 0, [])


def _owners(node: fx.Node) -> set[str]:
    """Whose parameters a value is made of, and of nothing else."""
    if node.op == "get_attr":
        return {str(node.target).rpartition(".")[0]}
    owners = [_owners(each) for each in node.all_input_nodes]
    return set.union(*owners) if owners and all(owners) else set()


def _joined(block: Block, before: list[fx.Node], made: dict[fx.Node, Block]) -> Block:
    """The block, or the one before it that it belongs to, grown by it."""
    sources = [made[node] for node in before]
    for node in before:
        kept = made[node]
        alone = len(node.users) == 1 and (len(before) == 1 or block.owner == "sum")
        if alone and kept.owner == block.owner:
            kept.names += block.names
            kept.kinds += block.kinds
            kept.shape, kept.parameters = block.shape, kept.parameters + block.parameters
            kept.inputs += [source for source in sources if source is not kept]
            return kept
    block.inputs = sources
    return block


def _place(found: list[Block]) -> None:
    """Rows by the longest way from the image, branches as low as they can stand.

    The longest way through is the first column; each branch gets the next one that is free
    between the row that it leaves and the row that it joins.
    """
    for block in found:
        block.rank = max((source.rank + 1 for source in block.inputs), default=0)
    spine = [next((block for block in found if block.answers), found[-1])]
    while spine[-1].inputs:
        spine.append(max(spine[-1].inputs, key=lambda source: source.rank))
    last = max(block.rank for block in found)
    branches = []
    for block in reversed(found):
        if not any(block is each for each in spine):
            takers = [each.rank for each in found if any(block is s for s in each.inputs)]
            block.rank = min(takers, default=last + 1) - 1
            start = max(source.rank for source in block.inputs)
            branches.append((start, min(takers, default=last + 1), block))
    taken: list[tuple[int, int, int]] = []
    for start, end, block in sorted(branches, key=lambda branch: -branch[0]):
        block.column = 1
        while any(c == block.column and start < e and s < end for s, e, c in taken):
            block.column += 1
        taken.append((start, end, block.column))
    top = 1
    for rank in range(last + 1):
        row = [block for block in found if block.rank == rank]
        height = 12 + LINE * max((len(b.title) + len(b.lines) for b in row), default=0)
        for block in row:
            block.top, block.height = top, height
        top += height + GAP[1]

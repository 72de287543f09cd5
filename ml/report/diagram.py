"""A block diagram and a table of the layers of any network, generated from the PyTorch module.

`torch.fx` (Reed et al. 2022, https://arxiv.org/abs/2112.08429) traces the data flow between the
modules. A forward pass with a black image gives the shapes.
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

WIDTH, LINE_HEIGHT = 158, 15  # of a box, and of a line of text in it
COLUMN_GAP, ROW_GAP = 16, 24


@dataclass
class Block:
    """Consecutive modules that are drawn as one box."""

    owner: str  # consecutive blocks with the same owner are merged
    names: list[str]
    types: list[str]
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int
    inputs: list["Block"]
    outputs: list[str] = field(default_factory=list)  # names of the network outputs it computes
    rank: int = 0  # row of boxes, from the top
    column: int = 0
    top: int = 0
    height: int = 0

    @property
    def name(self) -> str:
        """The modules' names; those of `features.0` to `features.6` become `features 0-6`."""
        numbers = [name.removeprefix(f"{self.owner}.") for name in self.names]
        if all(number.isdigit() for number in numbers):
            return f"{self.owner} {'-'.join(dict.fromkeys((numbers[0], numbers[-1])))}"
        return ", ".join(dict.fromkeys(self.names))

    @property
    def summary(self) -> str:
        """The modules' types; repeated types are counted, as in `3 x Conv2d`."""
        runs = ((name, len(list(same))) for name, same in groupby(self.types))
        return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in runs)

    @property
    def lines(self) -> list[str]:
        """The lines of text below the title."""
        parameters = [f"{self.parameters:,} parameters"] if self.parameters else []
        return [" x ".join(map(str, self.shape)), *parameters, *self.outputs]

    @property
    def title(self) -> list[str]:
        """The name, wrapped to the width of the box."""
        return textwrap.wrap(self.name, 20)

    @property
    def left(self) -> int:
        """The x coordinate of the left edge."""
        return 1 + self.column * (WIDTH + COLUMN_GAP)


@dataclass(frozen=True)
class Layer:
    """A row of the layer table."""

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Trace into nn.Sequential only; every other module is one step."""
        return type(m) is not nn.Sequential


def blocks(network: nn.Module, size: int = 224) -> list[Block]:
    """Return the network's blocks in the order of computation, with their positions."""
    graph = _Tracer().trace(network)
    traced = fx.GraphModule(network, graph)
    ShapeProp(traced).propagate(_black(network, size))
    block_of: dict[fx.Node, Block] = {}
    for node in graph.nodes:
        before = [each for each in node.all_input_nodes if each in block_of]
        fields = getattr(node.target, "_fields", None)
        if fields:  # the named tuple that the network returns
            for name, source in zip(fields, before, strict=True):
                block_of[source].outputs.append(name)
        elif node.op == "placeholder" or (before and node.op != "output"):
            block_of[node] = _merge(_block(node, network), before, block_of)
    # A merged block is placed where its last step is: all its inputs are computed by then.
    found = list({id(block): block for block in reversed(block_of.values())}.values())[::-1]
    _place(found)
    return found


def layers(network: nn.Module, size: int = 224) -> list[Layer]:
    """Return every module without children, in the order of computation."""
    rows: list[Layer] = []
    names = {m: name for name, m in network.named_modules() if not list(m.children())}

    def record(module: nn.Module, _: Any, output: Tensor) -> None:
        shape = (*output.shape[1:],)
        rows.append(Layer(names[module], type(module).__name__, shape, _count(module)))

    hooks = [module.register_forward_hook(record) for module in names]
    with torch.no_grad():
        network(_black(network, size))
    for hook in hooks:
        hook.remove()
    return rows


def draw(found: Sequence[Block]) -> str:
    """Draw the blocks and the arrows between them as SVG, in the page's text colour."""
    template = Path(__file__).parent / "templates" / "network.svg.jinja"
    svg = Template(template.read_text(encoding="utf-8"), autoescape=True, trim_blocks=True).render(
        blocks=found,
        box=WIDTH,
        edges=[_path(source, block) for block in found for source in block.inputs],
        width=max(block.left for block in found) + WIDTH + 1,
        height=max(block.top + block.height for block in found) + 1,
    )
    return str(svg)


def _path(source: Block, block: Block) -> str:
    """Return an arrow: down within a column, else right and down, or down and left."""
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
    """Make a block of one traced step."""
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
    # A function may use a module's parameters; they are counted in the module's own block.
    owners = sorted({owner for each in node.all_input_nodes for owner in _parameter_owners(each)})
    name = f"{function}({', '.join(owners)})" if owners else function
    return Block("plain", [name], [function], shape, 0, [])


def _parameter_owners(node: fx.Node) -> set[str]:
    """Return whose parameters a value depends on; empty if it depends on the image too."""
    if node.op == "get_attr":
        return {str(node.target).rpartition(".")[0]}
    owners = [_parameter_owners(each) for each in node.all_input_nodes]
    return set.union(*owners) if owners and all(owners) else set()


def _merge(block: Block, before: list[fx.Node], block_of: dict[fx.Node, Block]) -> Block:
    """Merge the block into a preceding one of the same owner; return the resulting block."""
    sources = [block_of[node] for node in before]
    for node in before:
        previous = block_of[node]
        linear = len(node.users) == 1 and (len(before) == 1 or block.owner == "sum")
        if linear and previous.owner == block.owner:
            previous.names += block.names
            previous.types += block.types
            previous.shape = block.shape
            previous.parameters += block.parameters
            previous.inputs += [source for source in sources if source is not previous]
            return previous
    block.inputs = sources
    return block


def _place(found: list[Block]) -> None:
    """Assign positions to the blocks.

    A block's row is the length of the longest path from the image. The longest path through the
    network is the first column. A branch is placed as low as possible, in the first column that is
    free between the rows of its input and its output.
    """
    for block in found:
        block.rank = max((source.rank + 1 for source in block.inputs), default=0)
    main_path = [next((block for block in found if block.outputs), found[-1])]
    while main_path[-1].inputs:
        main_path.append(max(main_path[-1].inputs, key=lambda source: source.rank))
    last = max(block.rank for block in found)
    branches = []
    for block in reversed(found):
        if not any(block is each for each in main_path):
            users = [each.rank for each in found if any(block is s for s in each.inputs)]
            block.rank = min(users, default=last + 1) - 1
            branches.append((max(source.rank for source in block.inputs), block.rank + 1, block))
    used: list[tuple[int, int, int]] = []
    for start, end, block in sorted(branches, key=lambda branch: -branch[0]):
        block.column = 1
        while any(c == block.column and start < e and s < end for s, e, c in used):
            block.column += 1
        used.append((start, end, block.column))
    top = 1
    for rank in range(last + 1):
        row = [block for block in found if block.rank == rank]
        height = 12 + LINE_HEIGHT * max((len(b.title) + len(b.lines) for b in row), default=0)
        for block in row:
            block.top, block.height = top, height
        top += height + ROW_GAP

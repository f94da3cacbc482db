"""What is run of the documents, on how many ranks, and what their blocks leave open."""

from documents.blocks import Program

LLAMA = """
import torch, weft
from transformers import LlamaConfig, LlamaForCausalLM
weft.initialize()
SMALL = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=128)
make_model = lambda: LlamaForCausalLM(LlamaConfig(**SMALL))
model = make_model()
tokens = torch.randint(0, 128, (4, 16))
batch = {"input_ids": tokens, "labels": tokens}
"""
SHARDED_LLAMA = (
    LLAMA
    + """
mesh = weft.DeviceMesh((weft.world_size(),), ("data",))
weft.distribute_module(model, weft.layouts.fsdp(model, mesh, "data"))
optimizer = torch.optim.AdamW(model.parameters())
model(**weft.shard_batch(batch, mesh, "data")).loss.backward()
optimizer.step()
"""
)
OP = """
import torch, weft
weft.initialize()
@torch.library.custom_op("mylib::op", mutates_args=())
def op(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b
@op.register_fake
def _(a, b):
    return a.new_empty(a.shape[0], b.shape[1])
"""
NET = """
#include <torch/torch.h>
struct Net : torch::nn::Module {
  torch::nn::Linear up = register_module("up", torch::nn::Linear(6, 8));
  torch::nn::Linear down = register_module("down", torch::nn::Linear(8, 3));
  at::Tensor forward(const at::Tensor& x) { return down(torch::relu(up(x))); }
};
"""

README = [
    Program("README.md", "Python", ranks=4),
    Program("README.md", "Saving and loading", before=SHARDED_LLAMA),
    Program(
        "README.md",
        "Layouts in one line, and a first check",
        ranks=4,
        before=LLAMA + 'mesh = weft.DeviceMesh((2, 2), ("data", "model"))',
    ),
    Program("README.md", "Seeing what happens", before=SHARDED_LLAMA),
    Program("README.md", "C++", "cpp", before=NET),
    Program("README.md", "TorchScript"),
    Program("README.md", "Keras", ranks=4),
    Program(
        "README.md",
        "Hugging Face",
        ranks=4,
        before=LLAMA
        + """
from transformers import AutoModelForCausalLM
mesh = weft.DeviceMesh((2, 2), ("data", "model"))
folder = "checkpoint"
model.save_pretrained(folder) if weft.rank() == 0 else None
torch.distributed.barrier()
""",
    ),
    Program("README.md", "A rule of your own", before=OP),
]
GUIDE = [
    Program("docs/index.md"),
    Program("docs/guide/layouts.md", ranks=4),
    Program("docs/guide/cost.md"),
    Program("docs/guide/rules.md"),
    Program("docs/guide/values.md"),
    Program("docs/guide/random.md"),
    Program("docs/guide/checkpoints.md"),
    Program("docs/guide/ranks.md"),
    Program("docs/guide/hugging_face.md", ranks=4),
    Program("docs/guide/keras.md", ranks=4),
    Program("docs/guide/torchscript.md"),
    Program("docs/guide/migrating.md"),
    Program("docs/guide/cpp.md", language="cpp"),
    Program("docs/guide/cpp.md", language="cmake"),
]

PROGRAMS = [*README, *GUIDE]

#include "dispatch/recurrent.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <utility>

#include "redistribute/tensors.h"
#include "tensor/key.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

// Not where its batch is split already, or an axis of the input's batch splits something else of it.
at::Tensor with_batch_as(const at::Tensor& input, int64_t input_batch, const at::Tensor& state, int64_t state_batch,
                         const char* op) {
  if (!holds_shards(input) || input.dim() <= input_batch || state.dim() <= state_batch) return state;
  const Layout like = sharded(input).layout();
  const std::vector<Split>& splits = like->dim(input_batch);
  if (splits.empty() || input.size(input_batch) != state.size(state_batch)) return state;
  const Layout now =
      holds_shards(state) ? sharded(state).layout() : TensorLayout::replicated(like->mesh(), state.dim());
  if (now->mesh() != like->mesh() || !now->dim(state_batch).empty()) return state;
  for (const Split& s : splits) {
    if (now->state(s.axis).kind != AxisState::replicated) return state;
  }
  TensorLayout::Dims dims = now->dims();
  dims[state_batch] = splits;
  return lay_out_operand(state, TensorLayout::get(like->mesh(), std::move(dims), now->partial()), op, "hx");
}

void run_recurrent(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const size_t base = stack->size() - arguments.size();
  const bool is_layer = arguments.back().name() == "batch_first";  // [time, batch, …] and [layers, batch, …]
  const at::Tensor input = (*stack)[base].toTensor();
  const int64_t input_batch = is_layer && !stack->back().toBool() ? 1 : 0, state_batch = is_layer ? 1 : 0;
  const auto laid_out = [&](const at::Tensor& state) {
    return with_batch_as(input, input_batch, state, state_batch, op.schema().name().c_str());
  };
  c10::IValue& hx = (*stack)[base + 1];
  if (hx.isTensor()) {
    hx = laid_out(hx.toTensor());
  } else {
    std::vector<at::Tensor> states = hx.toTensorVector();
    for (at::Tensor& state : states) state = laid_out(state);
    hx = std::move(states);
  }
  op.callBoxedForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd, *stack);
}

}  // namespace

void register_recurrent(std::vector<std::unique_ptr<torch::Library>>& libraries) {
  for (const c10::DispatchKey key : {kKey, kAutogradKey}) {
    auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "aten", key, __FILE__, __LINE__);
    for (const char* name : {"lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input", "lstm_cell", "gru_cell",
                             "rnn_tanh_cell", "rnn_relu_cell"}) {
      library->impl(name, torch::CppFunction::makeFromBoxedFunction<&run_recurrent>());
    }
    libraries.push_back(std::move(library));
  }
}

}  // namespace weft

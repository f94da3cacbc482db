#pragma once
// Composites: see table.cpp. Each takes an op's arguments from the stack and leaves its results.
#include "rules/bound.h"

namespace weft::rules {

using CompositeStack = std::vector<c10::IValue>;

void run_softmax(const c10::OperatorHandle& op, CompositeStack& stack);
void run_safe_softmax(const c10::OperatorHandle& op, CompositeStack& stack);
void run_log_softmax(const c10::OperatorHandle& op, CompositeStack& stack);
void run_softmax_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_log_softmax_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_logsumexp(const c10::OperatorHandle& op, CompositeStack& stack);
void run_variance(const c10::OperatorHandle& op, CompositeStack& stack);
void run_deviation(const c10::OperatorHandle& op, CompositeStack& stack);
void run_vector_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_distance(const c10::OperatorHandle& op, CompositeStack& stack);
void run_foreach_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_mean(const c10::OperatorHandle& op, CompositeStack& stack);
void run_mean_loss(const c10::OperatorHandle& op, CompositeStack& stack);
void run_mean_loss_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_nll_loss(const c10::OperatorHandle& op, CompositeStack& stack);
void run_layer_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_layer_norm_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_rms_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_rms_norm_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_group_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_group_norm_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_batch_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_batch_norm_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_cudnn_batch_norm(const c10::OperatorHandle& op, CompositeStack& stack);
void run_cudnn_batch_norm_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_cumsum(const c10::OperatorHandle& op, CompositeStack& stack);
void run_cumprod(const c10::OperatorHandle& op, CompositeStack& stack);
void run_logcumsumexp(const c10::OperatorHandle& op, CompositeStack& stack);
void run_masked_scatter(const c10::OperatorHandle& op, CompositeStack& stack);
void run_masked_scatter_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_argmax(const c10::OperatorHandle& op, CompositeStack& stack);
void run_argmin(const c10::OperatorHandle& op, CompositeStack& stack);
void run_max(const c10::OperatorHandle& op, CompositeStack& stack);
void run_min(const c10::OperatorHandle& op, CompositeStack& stack);
void run_any(const c10::OperatorHandle& op, CompositeStack& stack);
void run_all(const c10::OperatorHandle& op, CompositeStack& stack);
void run_allclose(const c10::OperatorHandle& op, CompositeStack& stack);
void run_squeeze(const c10::OperatorHandle& op, CompositeStack& stack);
void run_squeeze_copy(const c10::OperatorHandle& op, CompositeStack& stack);
void run_embedding_bag(const c10::OperatorHandle& op, CompositeStack& stack);
void run_embedding_bag_per_sample_weights_backward(const c10::OperatorHandle& op, CompositeStack& stack);
void run_unscale(const c10::OperatorHandle& op, CompositeStack& stack);
void run_native_dropout(const c10::OperatorHandle& op, CompositeStack& stack);

}  // namespace weft::rules

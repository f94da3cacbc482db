// Distributed kernels, written as the ops they are made of, on sharded tensors: the engine adds the collectives.
#include "composites/composites.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(composites) {
  composite("softmax", &run_softmax);
  composite("safe_softmax", &run_safe_softmax);
  composite("log_softmax", &run_log_softmax);
  composite("softmax_backward", &run_softmax_backward);
  composite("log_softmax_backward", &run_log_softmax_backward);
  composite("logsumexp", &run_logsumexp);
  composite("variance", &run_variance);
  composite("deviation", &run_deviation);
  composite("vector_norm", &run_vector_norm);
  composite("layer_norm", &run_layer_norm);
  composite("layer_norm_backward", &run_layer_norm_backward);
  composite("rms_norm", &run_rms_norm);
  composite("rms_norm_backward", &run_rms_norm_backward);
  composite("group_norm", &run_group_norm);
  composite("group_norm_backward", &run_group_norm_backward);
  composite("batch_norm", &run_batch_norm);
  composite("batch_norm_backward", &run_batch_norm_backward);
  composite("cudnn_batch_norm", &run_cudnn_batch_norm);
  composite("cudnn_batch_norm_backward", &run_cudnn_batch_norm_backward);
  composite("mean", &run_mean);
  composite("mean_loss", &run_mean_loss);
  composite("mean_loss_backward", &run_mean_loss_backward);
  composite("nll_loss", &run_nll_loss);
  composite("cumsum", &run_cumsum);
  composite("cumprod", &run_cumprod);
  composite("logcumsumexp", &run_logcumsumexp);
  composite("masked_scatter", &run_masked_scatter);
  composite("masked_scatter_backward", &run_masked_scatter_backward);
  composite("argmax", &run_argmax);
  composite("argmin", &run_argmin);
  composite("max", &run_max);
  composite("min", &run_min);
  composite("any", &run_any);
  composite("all", &run_all);
  composite("allclose", &run_allclose);
  composite("unscale", &run_unscale);
  composite("norm", &run_norm);
  composite("distance", &run_distance);
  composite("squeeze", &run_squeeze);
  composite("squeeze_copy", &run_squeeze_copy);
  composite("native_dropout", &run_native_dropout);
  composite("foreach_norm", &run_foreach_norm);
  composite("embedding_bag", &run_embedding_bag);
  composite("embedding_bag_per_sample_weights_backward", &run_embedding_bag_per_sample_weights_backward);

  decompose("linalg_vector_norm", "vector_norm");
  decompose("native_dropout", "native_dropout");
  decompose("cudnn_batch_norm", "cudnn_batch_norm");
  decompose("cudnn_batch_norm_backward", "cudnn_batch_norm_backward");
  for (const char* op : {"squeeze", "squeeze.dim"}) decompose(op, "squeeze");
  for (const char* op : {"squeeze_copy", "squeeze_copy.dim"}) decompose(op, "squeeze_copy");
  for (const char* op : {"norm.Scalar", "norm.ScalarOpt_dim", "norm.ScalarOpt_dim_dtype", "norm.ScalarOpt_dtype"}) {
    decompose(op, "norm");
  }
  decompose("dist", "distance");
  decompose("allclose", "allclose");
  decompose("_amp_foreach_non_finite_check_and_unscale_", "unscale");
  decompose("_foreach_norm.Scalar", "foreach_norm");
}

}  // namespace weft::rules

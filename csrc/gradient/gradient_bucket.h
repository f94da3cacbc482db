#pragma once
// Gradients that are reduced together, and small values with them.
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "comm/wire/collectives.h"
#include "comm/wire/piggyback.h"
#include "gradient/flat_shards.h"
#include "redistribute/route.h"
#include "tensor/sharded.h"

namespace weft {

class GradientBucket final : public Incoming,
                             public comm::CarryingReduction,
                             public std::enable_shared_from_this<GradientBucket> {
 public:
  /// One collective, of all gradients in the bucket.
  struct Reduce {
    int axis;
    Reduction reduction;
    bool scatter;
    bool operator==(const Reduce&) const = default;
  };
  /// What all gradients in the bucket have in common.
  struct Kind {
    Mesh mesh;
    std::vector<Reduce> reduces;  // at least one
    c10::ScalarType dtype;
    c10::Device device;
    bool operator==(const Kind&) const = default;
  };
  /// One gradient.
  struct Part {
    c10::intrusive_ptr<Cell> cell;         // that waits for it
    c10::intrusive_ptr<Cell> accumulated;  // what autograd adds it to; null: nothing
    Layout layout;                         // when it has arrived
    Sizes sizes;                           // global
    int64_t bytes = 0;                     // of the largest rank's shard: so all send a bucket at once
    Sizes position;  // of each dimension among those of `shard`, which lie as memory has them; empty: the same
    at::Tensor shard;
    relayout::State state;  // of the shard
    relayout::Steps steps;
    size_t next = 0;    // step
    Sizes shape;        // of the shard behind the collective that runs
    bool adds = false;  // to `accumulated`, when it has arrived
  };

  /// `expected`: how many elements it will send in all, as far as the last backward pass tells; 0: unknown.
  explicit GradientBucket(Kind kind, int64_t expected = 0);
  const Kind& kind() const { return kind_; }
  /// Stands for gradients that have not arrived.
  const at::Tensor& placeholder() const { return placeholder_; }

  void add(Part part, const std::string& path);
  int64_t bytes() const { return bytes_; }
  /// How many elements it has sent in its first all-reduce; 0: none.
  int64_t elements() const { return elements_; }
  /// Adds the gradient that `cell` waits for to what it was to be accumulated in, when it arrives. False: it is not
  /// here, or `sum` is something else.
  bool add_on_arrival(const Cell& cell, const at::Tensor& sum, const std::shared_ptr<Incoming>& self);

  /// Sends it off, once.
  void send();
  bool is_sent() const { return sent_; }
  /// Waits for the collective that runs and begins the next one; true: it has all arrived.
  bool advance();
  void arrive() override;
  void finish() override { arrive(); }

 private:
  bool slice(Part& part);
  void pack(c10::ArrayRef<at::Tensor> piggybacked);
  void take_along();
  void begin();
  void wait();
  void deliver();
  relayout::Place place(const Part& part) const;

  const Kind kind_;
  const at::Tensor placeholder_;
  const bool packs_early_;  // it is known how much will come
  int64_t bytes_ = 0, elements_ = 0;
  std::string path_;
  const std::string* variables_ = nullptr;  // what it is for, once it is sent
  Identity identity_ = 0;                   // of the gradients and what is piggybacked
  std::mutex mutex_;
  std::vector<Part> parts_;
  comm::PiggybackedReductions piggybacked_;
  bool sent_ = false, arrived_ = false;
  size_t next_ = 0;  // of kind_.reduces
  FlatShards flat_;
  size_t packed_ = 0;           // parts_ in flat_
  int64_t unpacked_bytes_ = 0;  // of the others
  std::unique_ptr<comm::Pending> reducing_;
  std::unique_ptr<comm::PendingParts> scattering_;
};

}  // namespace weft

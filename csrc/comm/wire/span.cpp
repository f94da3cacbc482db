#include "comm/wire/span.h"

#include <c10/util/StringUtil.h>

#include <utility>

#include "tensor/running.h"

namespace weft::comm {
namespace {

void tell_end(int64_t number) {
  if (number == 0) return;
  if (const auto told = span_ended.load(std::memory_order_acquire)) told(number);
}

}  // namespace

Span::Span(const Event& event)
    : number_(std::exchange(next_, 0)), outer_(std::exchange(current_, this)), range_([&] {
        name_ = c10::str(event.kind, " ", event.mesh->axis_name(event.axis), RunningFor::now().str());
        return "weft::" + name_;
      }) {}

Span::~Span() {
  current_ = outer_;
  tell_end(number_);
}

Span::Pending Span::pending() { return current_ != nullptr ? Pending{current_->number_, current_->name_} : Pending{}; }

WaitSpan::WaitSpan(const Span::Pending& pending)
    : number_(pending.number), range_([&] { return "weft::wait " + pending.name; }) {}

WaitSpan::~WaitSpan() { tell_end(number_); }

}  // namespace weft::comm

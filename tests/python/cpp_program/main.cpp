// Two processes make their own Gloo mesh and compute on sharded tensors, modules and a scripted module; what comes out
// is compared with plain torch in the same process. Usage: program scripted.pt folder, with a checkpoint "python" in
// the folder, beside which comes one, "cpp", of a step more.
#include <torch/script.h>
#include <torch/torch.h>
#include <weft/weft.h>

#include <chrono>
#include <iostream>
#include <sstream>

namespace {

void check(bool ok, const char* what) {
  if (ok) return;
  std::cerr << "rank " << weft::rank() << ": " << what << " is wrong" << std::endl;
  std::exit(1);
}

void check_same(const at::Tensor& a, const at::Tensor& b, const char* what) {
  check(!weft::is_sharded(b) && weft::full_tensor(a).allclose(b, 1e-5, 1e-6), what);
}

template <class F>
std::string error_of(F f) {
  try {
    f();
  } catch (const c10::ValueError& e) {
    return e.what_without_backtrace();
  }
  return "";
}

void tensors(weft::Mesh mesh) {
  const auto rows = weft::TensorLayout::from_names(mesh, {{"x"}, {}});
  const at::Tensor a = torch::randn({4, 6}), b = torch::randn({6, 3}).requires_grad_();
  at::Tensor sharded = weft::distribute_tensor(b.detach(), rows).requires_grad_();
  weft::Trace trace;
  const at::Tensor y = torch::matmul(a, sharded);
  y.square().sum().backward();
  const auto collectives = trace.stop();
  torch::matmul(a, b).square().sum().backward();
  check_same(y, torch::matmul(a, b), "matmul");
  check_same(sharded.grad(), b.grad(), "gradient");
  check(weft::layout_of(sharded.grad()) == rows, "layout of the gradient");
  check(weft::local_tensor(sharded).size(0) == 3, "local part");
  check(!collectives.empty() && collectives[0].axis == "x" && collectives[0].bytes > 0, "trace");
  check(collectives[0].start > 0 && collectives[0].duration > 0 && collectives[0].sequence == -1, "times in a trace");
  std::ostringstream text;
  text << weft::describe(sharded);
  check(text.str().find("f32[6@x, 3], mesh (x=2)") != std::string::npos, "printing");
  std::ostringstream streamed, plain, none;
  streamed << sharded;
  check(streamed.str() == text.str(), "operator<< of a sharded tensor");
  plain << torch::ones({2}) << torch::zeros({}, at::kLong);
  check(plain.str() == " 1\n 1\n[ CPUFloatType{2} ]0\n[ CPULongType{} ]", "operator<< of plain tensors");
  none << at::Tensor();
  check(none.str() == "[ Tensor (undefined) ]", "operator<< of no tensor");
  check(error_of([&] { weft::TensorLayout::from_names(mesh, {{"nope"}}); }).find("[W025] no axis 'nope'") == 0,
        "error");
  check(weft::explain_error("W025").find("a mesh has no such axis") != std::string::npos, "an error explained");
}

// A sharded tensor takes a plain value in its own layout; a plain one cannot become sharded.
void data(weft::Mesh mesh) {
  const auto rows = weft::TensorLayout::from_names(mesh, {{"x"}, {}});
  at::Tensor sharded = weft::distribute_tensor(torch::ones({4, 6}), rows), plain = torch::ones({4, 6});
  const at::Tensor value = torch::randn({5, 6});
  sharded.set_data(value);
  check_same(sharded, value, "set_data");
  check(weft::layout_of(sharded) == rows, "layout after set_data");
  std::string error;
  try {
    plain.set_data(sharded);
  } catch (const c10::NotImplementedError& e) {
    error = e.what_without_backtrace();
  }
  check(error.find("[set_data] the data of a plain tensor f32[4, 6] ") != std::string::npos, "set_data of plain");
  check(!weft::is_sharded(plain) && plain.sum().item<double>() == 24, "plain after set_data");
}

void finite(weft::Mesh mesh) {
  const at::Tensor x = weft::distribute_tensor(-torch::ones({4}), weft::TensorLayout::from_names(mesh, {{"x"}}));
  torch::log(x);
  check(!weft::check_finite(true), "check_finite at first");
  std::string error;
  try {
    torch::log(x);
  } catch (const c10::Error& e) {
    error = e.what_without_backtrace();
  }
  check(error.find("[log] makes NaN on rank " + std::to_string(weft::rank())) != std::string::npos, "check_finite");
  check(weft::check_finite(false), "check_finite before");
}

struct Net : torch::nn::Module {
  Net() {
    up = register_module("up", torch::nn::Linear(6, 8));
    norm = register_module("norm", torch::nn::BatchNorm1d(8));
    down = register_module("down", torch::nn::Linear(8, 3));
    scale = register_parameter("scale", torch::ones({3}));
  }
  at::Tensor forward(const at::Tensor& x) { return down(norm(torch::tanh(up(x)))) * scale; }
  torch::nn::Linear up{nullptr}, down{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
  at::Tensor scale;
};

void modules(weft::Mesh mesh) {
  torch::manual_seed(5);
  const auto net = std::make_shared<Net>();
  torch::manual_seed(5);
  const auto plain = std::make_shared<Net>();
  weft::LayoutMap map(mesh);
  map.insert("up/kernel", {{}, {"x"}});
  map.insert("down/weight", {{}, {"x"}});
  map.insert("up/bias|norm/.*(weight|bias|mean|var)", {{"x"}});
  {
    const auto copy = std::make_shared<Net>();
    torch::optim::SGD early(copy->parameters(), 0.1);
    const std::string error = error_of([&] { weft::distribute_module(*copy, map); });
    check(error.find("make it after") != std::string::npos && error.find("scale") != std::string::npos,
          "held parameters");
  }
  weft::distribute_module(*net, map, [](const std::string&, torch::nn::Module& m) {
    if (auto* n = dynamic_cast<Net*>(&m)) n->scale = n->named_parameters(false)["scale"];
  });
  check(weft::layout_of(net->up->weight)->str() == "(x, None)", "layout of a Linear's weight");
  check(weft::path_of(net->norm->running_mean) == "norm/running_mean", "path of a buffer");
  torch::optim::Adam optimizer(net->parameters(), 0.01), reference(plain->parameters(), 0.01);
  const at::Tensor x = torch::randn({5, 6});
  for (int step = 0; step < 3; ++step) {
    for (auto [module, opt] : {std::pair(net, &optimizer), std::pair(plain, &reference)}) {
      opt->zero_grad();
      module->forward(x).square().mean().backward();
      opt->step();
    }
  }
  for (const auto& p : plain->named_parameters()) {
    check_same(net->named_parameters()[p.key()], p.value(), "a trained parameter");
  }
}

void scripted(weft::Mesh mesh, const std::string& file) {
  torch::jit::Module plain = torch::jit::load(file), module = torch::jit::load(file);
  weft::LayoutMap map(mesh);
  map.insert("0/weight", {{"x"}, {}});
  map.insert("2/weight", {{}, {"x"}});
  weft::distribute_module(module, map);
  const at::Tensor x = torch::randn({5, 6});
  for (auto* m : {&plain, &module}) m->forward({x}).toTensor().square().sum().backward();
  check_same(module.forward({x}).toTensor(), plain.forward({x}).toTensor(), "a scripted module's result");
  for (const auto& p : plain.named_parameters()) {
    check_same(module.attr(p.name.substr(0, 1)).toModule().attr(p.name.substr(2)).toTensor().grad(), p.value.grad(),
               "a scripted module's gradient");
  }
}

at::Tensor product(const at::Tensor& a, const at::Tensor& b) { return at::mm(a, b); }
at::Tensor cube(const at::Tensor& x) { return x * x * x; }

struct Cube : torch::autograd::Function<Cube> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({x});
    static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("program::cube", "");
    return op.typed<at::Tensor(const at::Tensor&)>().call(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads) {
    return {3 * ctx->get_saved_variables()[0].square() * grads[0]};
  }
};

// Ops of the program's own, registered while Weft is loaded: one with a rule, one without.
void own_ops(weft::Mesh mesh) {
  torch::Library library(torch::Library::DEF, "program", std::nullopt, __FILE__, __LINE__);
  library.def("product(Tensor a, Tensor b) -> Tensor");
  library.def("cube(Tensor x) -> Tensor");
  for (const auto key : {c10::DispatchKey::CPU, c10::DispatchKey::Meta}) {
    library.impl("product", torch::dispatch(key, TORCH_FN(product)));
    library.impl("cube", torch::dispatch(key, TORCH_FN(cube)));
  }
  library.impl("cube", torch::dispatch(c10::DispatchKey::Autograd, [](const at::Tensor& x) { return Cube::apply(x); }));
  const auto op = c10::Dispatcher::singleton()
                      .findSchemaOrThrow("program::product", "")
                      .typed<at::Tensor(const at::Tensor&, const at::Tensor&)>();
  const at::Tensor a = torch::randn({5, 7}), b = torch::randn({7, 4});
  const at::Tensor split = weft::distribute_tensor(a, weft::TensorLayout::from_names(mesh, {{}, {"x"}}));
  const at::Tensor rows = weft::distribute_tensor(b, weft::TensorLayout::from_names(mesh, {{"x"}, {}}));
  const auto collectives = [&] {
    weft::Trace trace;
    const at::Tensor y = op.call(split, rows);
    const auto found = trace.stop();
    check_same(y, torch::mm(a, b), "an op of the program's own");
    return found.size();
  };
  check(collectives() > 0, "an op without a rule is gathered: that");
  const std::string error = error_of([] { weft::register_rule("program::product", "m k -> m;  sum k"); });
  check(error.find("[program::product]") != std::string::npos &&
            error.find("2 tensor arguments (a, b)") != std::string::npos,
        "the error of a rule that does not fit");
  weft::register_rule("program::product", "m k, k n -> m n;  sum k");
  check(collectives() == 0, "the product stays a pending sum: that");
  const at::Tensor plain = a.clone().requires_grad_(), x = split.detach().requires_grad_();
  const auto cubed =
      c10::Dispatcher::singleton().findSchemaOrThrow("program::cube", "").typed<at::Tensor(const at::Tensor&)>();
  for (const at::Tensor& t : {plain, x}) cubed.call(t).square().sum().backward();
  check_same(x.grad(), plain.grad(), "the gradient of an op without a rule");
}

// Ops whose shapes core tells in Python alone move nothing here either.
void shapes_without_python(weft::Mesh mesh) {
  namespace F = torch::nn::functional;
  const auto rows = weft::TensorLayout::from_names(mesh, {{"x"}, {}});
  const at::Tensor plain = torch::rand({8, 6}).requires_grad_();
  const at::Tensor x = weft::distribute_tensor(plain.detach(), rows).requires_grad_();
  const auto compute = [](const at::Tensor& t) {
    const at::Tensor weight = torch::full({1}, 0.25);
    return torch::binary_cross_entropy(t, t.detach().flip({1})) + torch::prelu(t - 0.5, weight).std(1).sum() +
           F::huber_loss(torch::hardswish(t), t.detach().roll({2}, {1})) + torch::log_sigmoid(t).sum() +
           torch::glu(t, 1).nansum();
  };
  weft::Trace trace;
  const at::Tensor y = compute(x);
  y.backward();
  for (const weft::TraceRow& row : trace.stop())
    check(row.kind != "all_gather", (row.op + ", which is gathered,").c_str());
  const at::Tensor expected = compute(plain);
  expected.backward();
  check_same(y, expected, "losses and activations");
  check_same(x.grad(), plain.grad(), "their gradient");
}

void checkpoints(weft::Mesh mesh, const std::string& folder) {
  torch::nn::Sequential net(torch::nn::Linear(6, 8), torch::nn::ReLU(), torch::nn::Linear(8, 3));
  weft::LayoutMap map(mesh);
  map.insert("./weight", {{"x"}, {}});
  weft::distribute_module(*net, map);
  torch::optim::AdamW optimizer(net->parameters(), torch::optim::AdamWOptions(1));
  check(weft::load(folder + "/python", *net, optimizer) == 2, "the step of Python's checkpoint");
  net->forward(torch::ones({4, 6})).square().sum().backward();
  optimizer.step();
  weft::save(folder + "/cpp", *net, optimizer, 3);
}

}  // namespace

int main(int argc, char** argv) {
  torch::manual_seed(0);
  weft::initialize(std::nullopt, std::nullopt, std::nullopt, std::chrono::seconds(60), std::chrono::minutes(2));
  check(weft::world_size() == 2, "world size");
  const weft::Mesh mesh = weft::DeviceMesh::get({2}, {"x"});
  tensors(mesh);
  data(mesh);
  finite(mesh);
  modules(mesh);
  own_ops(mesh);
  shapes_without_python(mesh);
  if (argc > 1) scripted(mesh, argv[1]);
  if (argc > 2) checkpoints(mesh, argv[2]);
  std::cout << "rank " << weft::rank() << " of " << weft::world_size() << ": all right" << std::endl;
}

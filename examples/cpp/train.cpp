// Trains a classifier with its two weights split over all processes, saves it with its optimizer, and loads it into a
// plain module; started again it goes on from there. Built by the CMakeLists.txt beside; started on two processes,
// without any Python:
//
//   export MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 WORLD_SIZE=2
//   RANK=0 ./train /tmp/classifier & RANK=1 ./train /tmp/classifier; wait
#include <torch/torch.h>
#include <weft/weft.h>

#include <filesystem>
#include <iostream>

struct Net : torch::nn::Module {
  torch::nn::Linear up = register_module("up", torch::nn::Linear(8, 64));
  torch::nn::Linear down = register_module("down", torch::nn::Linear(64, 3));
  at::Tensor forward(const at::Tensor& x) { return down(torch::gelu(up(x))); }
};

int main(int argc, char** argv) {
  if (argc > 1 && argv[1][0] == '-') {
    std::cerr << "usage: train [folder to save to]\n";
    return argv[1] == std::string("--help") ? 0 : 2;
  }
  const std::string folder = argc > 1 ? argv[1] : "classifier";
  weft::initialize();
  torch::manual_seed(0);
  const weft::Mesh mesh = weft::DeviceMesh::get({weft::world_size()}, {"model"});
  weft::LayoutMap layouts(mesh);
  layouts.insert("up/weight", {{"model"}, {}});
  layouts.insert("up/bias", {{"model"}});
  layouts.insert("down/weight", {{}, {"model"}});

  Net net;
  weft::distribute_module(net, layouts);
  torch::optim::AdamW optimizer(net.parameters(), torch::optim::AdamWOptions(1e-2));  // after distribute_module
  int64_t done = 0;
  if (std::filesystem::exists(folder)) {  // on any number of processes
    done = weft::load(folder, net, optimizer).value();
    weft::load_random_state(folder);
  }
  double loss = 0;
  for (int step = 0; step < 100; ++step) {
    const at::Tensor x = torch::randn({32, 8}), y = x.narrow(1, 0, 3).argmax(1);  // the same on every rank
    const at::Tensor error = torch::nn::functional::cross_entropy(net.forward(x), y);
    optimizer.zero_grad();
    error.backward();
    optimizer.step();
    loss = error.item<double>();  // a collective: on every rank
  }
  weft::save(folder, net, optimizer, done + 100);

  Net plain;
  const auto step = weft::load(folder, plain);
  if (weft::rank() == 0) std::cout << "step " << *step << ": loss " << loss << std::endl;
}

// Serves a scripted model whose weights are split over all processes: rank 0 reads requests (a line of numbers each)
// from its standard input and prints the answers. The model is what examples/torchscript.py saves.
//
//   export MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 WORLD_SIZE=2
//   RANK=1 ./serve scripted.pt & echo "1 2 3 4 5 6 7 8" | RANK=0 ./serve scripted.pt
#include <torch/script.h>
#include <torch/torch.h>
#include <weft/weft.h>

#include <iostream>
#include <sstream>

// Rank 0's next request on every rank; undefined at the end. Only rank 0 has the numbers, so each rank gives a part of
// its own, its own alone not being zero, and the whole is their sum.
at::Tensor next_request(weft::Mesh mesh, int64_t width) {
  at::Tensor part = torch::zeros({width + 1});
  std::string line;
  if (weft::rank() == 0 && std::getline(std::cin, line)) {
    std::istringstream numbers(line);
    part[0] = 1;
    double x = 0;
    for (int64_t i = 1; i <= width && numbers >> x; ++i) part[i] = x;
  }
  const weft::Layout sum = weft::TensorLayout::from_names(mesh, {{}}, {{"model", "sum"}});
  const at::Tensor whole = weft::full_tensor(weft::from_local(part, sum));
  return whole[0].item<float>() == 0 ? at::Tensor() : whole.narrow(0, 1, width).unsqueeze(0);
}

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    std::cerr << "usage: serve scripted.pt\n";
    return argc > 1 && argv[1] == std::string("--help") ? 0 : 2;
  }
  weft::initialize();
  const weft::Mesh mesh = weft::DeviceMesh::get({weft::world_size()}, {"model"});
  torch::jit::Module module = torch::jit::load(argv[1]);
  module.eval();
  const int64_t width = module.attr("up").toModule().attr("weight").toTensor().size(1);
  weft::LayoutMap layouts(mesh);
  layouts.insert("up/weight", {{"model"}, {}});
  layouts.insert("up/bias", {{"model"}});
  layouts.insert("down/weight", {{}, {"model"}});
  weft::distribute_module(module, layouts);

  const c10::InferenceMode guard;
  for (at::Tensor x = next_request(mesh, width); x.defined(); x = next_request(mesh, width)) {
    const at::Tensor y = weft::full_tensor(module.forward({x}).toTensor());
    if (weft::rank() == 0) std::cout << y << std::endl;
  }
}

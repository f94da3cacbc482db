"""Programs that write through views, each a function of a base to write to and a source."""

import torch

SHAPE = (7, 5, 4)  # uneven on two and on three ranks
CASES = {}  # name -> function of a base to write to and a source; returns what the loss is made of


def case(f):
    CASES[f.__name__] = f
    return f


@case
def slice_assign_scalar(y, s):
    y[2:5] = 0
    return y


@case
def slice_assign_minor(y, s):
    y[:, 1:3] = 3.0
    return y


@case
def slice_assign_tensor(y, s):
    y[2:5] = s[:3]
    return y


@case
def slice_assign_broadcast(y, s):
    y[1:6, 2:] = s[0, 0]
    return y


@case
def mul_on_slice(y, s):
    y[1:6].mul_(2)
    return y


@case
def mul_by_tensor_on_slice(y, s):
    y[:, 1:4].mul_(s[:, 1:4])
    return y


@case
def flattened(y, s):
    u = (y * 1).flatten()  # in blocks, of which ranks have uneven parts
    u[9:101].mul_(2)
    u[3:131:7] = s[0, :4, :].flatten()[:1]
    return u


@case
def transposed(y, s):
    y.transpose(0, 1).mul_(3)
    return y


@case
def transposed_slice(y, s):
    y.transpose(0, 2)[1:3].add_(s.transpose(0, 2)[1:3])
    return y


@case
def strided_slice(y, s):
    y[::2].mul_(2)
    return y


@case
def strided_slice_of_minor(y, s):
    y[:, 1::2] = s[:, ::2][:, :2]
    return y


@case
def chained(y, s):
    y[1:6][1:4].mul_(3)
    return y


@case
def chained_over_dims(y, s):
    y[1:6].transpose(0, 1)[1:, 2:4].add_(1)
    return y


@case
def select_first(y, s):
    y[3].mul_(5)
    return y


@case
def select_minor(y, s):
    y.select(1, 2).copy_(s.select(1, 0))
    return y


@case
def one_element(y, s):
    y[6, 4, 3] = 9.0
    return y


@case
def assign_none_and_ellipsis(y, s):
    y[..., 1] = s[..., 0]
    return y


@case
def unsqueezed(y, s):
    y.unsqueeze(1).mul_(2)
    return y


@case
def permuted(y, s):
    y.permute(2, 0, 1).mul_(s.permute(2, 0, 1))
    return y


@case
def part_of_a_split(y, s):
    first, second = y.split([3, 4])
    second = second * s[3:]
    return torch.cat([first, second])


@case
def narrow(y, s):
    y.narrow(0, 2, 4).zero_()
    return y


@case
def flat_view(y, s):
    y.view(-1).mul_(2)
    return y


@case
def folded_view(y, s):
    y.view(7, 20).mul_(2)
    return y


@case
def part_of_a_folded_view(y, s):
    y.view(35, 4)[3:20].add_(1)
    return y


@case
def unfolded_view(y, s):
    y.view(7, 5, 2, 2)[:, 1:4, 1].copy_(s[:, 1:4, 2:])
    return y


@case
def reshaped_transposed_view(y, s):
    y.view(7, 20).t()[3:9].mul_(s.view(7, 20).t()[3:9])
    return y


@case
def diagonal(y, s):
    y.diagonal(0, 0, 1).mul_(2)
    return y


@case
def chunks(y, s):
    for i, part in enumerate(y.detach().clone().chunk(3, 1)):
        y[:, 2 * i : 2 * i + part.shape[1]].add_(part, alpha=i + 1)
    return y


@case
def base_written_then_view_read(y, s):
    v = y[2:5]
    y.mul_(2)
    return v * s[2:5]


@case
def base_written_then_moved_view_read(y, s):
    v, w = y[:, 1:4], y.select(0, 3)
    y.add_(s)
    return v.sum() + (w * 2).sum()


@case
def view_written_then_other_view_read(y, s):
    v, w = y[1:4], y[2:6]
    v.mul_(3)
    return w * s[2:6]


@case
def view_written_twice(y, s):
    v = y[2:5]
    v.mul_(2)
    v.add_(s[2:5])
    return v * y[2:5]


@case
def relu_on_slice(y, s):
    torch.relu_(y[:, 2:])
    return y


@case
def masked_fill_on_slice(y, s):
    y[1:5].masked_fill_(y[1:5] > 0, 2.0)
    return y


@case
def index_put_on_rows(y, s):
    y[torch.tensor([0, 5, 2])] = s[:3]
    return y


@case
def boolean_mask(y, s):
    y[y > 0.3] = 0.5
    return y


@case
def empty_slice_of_an_expanded_one(y, s):
    y[1:2, :1].expand(3, 2, -1)[:2, 0:0] = 1
    return y


@case
def empty_slice(y, s):
    y[5:5] = 1
    y[2:2].mul_(3)
    return y


@case
def written_view_used_before(y, s):
    a = y[2:4] + 0  # nothing of it is saved
    y[1:6] += s[1:6]
    return y[2:4] * a

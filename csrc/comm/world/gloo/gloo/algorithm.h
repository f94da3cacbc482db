#pragma once
// The headers in this folder stand in for Gloo's own, which torch's wheels leave out: torch's ProcessGroupGloo.hpp
// includes them and names a few classes of theirs, mostly behind pointers. Nothing of Gloo is ever made by way
// of these declarations; all objects come from torch's library. What is called is defined there.

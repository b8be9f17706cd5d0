using System.CommandLine;
using BenchmarkDotNet.Running;

namespace Vmm.Benchmarks;

/// <summary><c>bench</c>: the BenchmarkDotNet benchmarks; what follows goes to its switcher.</summary>
internal static class BenchCommand
{
    internal static Command Create()
    {
        Argument<string[]> arguments = new("ARGUMENTS")
        {
            Arity = ArgumentArity.ZeroOrMore,
            Description = "For BenchmarkDotNet, as in: --filter '*Dispatch*'."
        };
        Command command = new("bench", "Run BenchmarkDotNet benchmarks: absolute times, allocations, machine code.") { arguments };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(parsed =>
        {
            string[] forSwitcher = [.. parsed.GetValue(arguments) ?? [], .. parsed.UnmatchedTokens];
            BenchmarkSwitcher.FromAssembly(typeof(BenchCommand).Assembly).Run(forSwitcher);
        });
        return command;
    }
}

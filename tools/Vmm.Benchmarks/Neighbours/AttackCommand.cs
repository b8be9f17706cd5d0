using System.CommandLine;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>attack</c>: a hostile front-end in a process of its own, which <c>compare neighbours</c> starts, and stops by a line on its input.
/// </summary>
internal static class AttackCommand
{
    internal const string Name = "attack", Begin = "begin", End = "end";

    internal static Command Create()
    {
        Argument<string> attack =
            new("ATTACK") { Description = $"What it does: {string.Join(", ", Attack.All.Select(each => each.Name))}." };
        attack.AcceptOnlyFromAmong([.. Attack.All.Select(each => each.Name)]);
        Argument<string> socket = new("SOCKET") { Description = "A disk of 'vmm serve', or its console for what harms one." };
        Command command =
            new(Name, $"Attack a device's socket from each line '{Begin}' of the standard input to the line after it.") { attack, socket };
        command.SetAction(parsed =>
            Run(Attack.All.Single(each => each.Name == parsed.GetRequiredValue(attack)), parsed.GetRequiredValue(socket)));
        return command;
    }

    private static int Run(Attack attack, string socket)
    {
        while (Console.In.ReadLine() == Begin)
        {
            Task<string?> end = Task.Run(Console.In.ReadLine);
            int visits = 0;
            for (; !end.IsCompleted; visits++) attack.Step(socket);
            Console.WriteLine(visits);
        }
        return 0;
    }
}

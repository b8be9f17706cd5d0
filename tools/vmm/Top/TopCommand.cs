using System.CommandLine;
using Spectre.Console;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>vmm top</c>: what the devices of a <c>vmm</c> that runs with <c>--api</c> do now, in this terminal.</summary>
internal static class TopCommand
{
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Argument<string> socket = new("SOCKET") { Description = $"{CtlOptions.Place}." };
        CtlOptions reach = new();
        NumberOption every = new("--every", "SECONDS", "Seconds between two readings", 1, 60, standard: 1);
        Command command = new("top", "Show what the devices of a vmm with --api do: live in a terminal, one table elsewhere.")
        {
            socket, every,
        };
        command.SetAction(parsed =>
        {
            if (!carriesOut) return ExitCode.Success;
            using CtlClient client = reach.Open(parsed, parsed.GetValue(socket)!);
            Run(client, TimeSpan.FromSeconds(every.In(parsed)));
            return ExitCode.Success;
        });
        reach.AddTo(command);
        return command;
    }

    private static void Run(CtlClient client, TimeSpan every)
    {
        TopReader reader = new(client);
        bool isTerminal = !Console.IsOutputRedirected && !Console.IsInputRedirected && AnsiConsole.Profile.Capabilities.Ansi;
        if (isTerminal) new TopScreen(reader, every).Run();
        else PrintOnce(reader, every);
    }

    /// <summary>Two readings make rates.</summary>
    private static void PrintOnce(TopReader reader, TimeSpan every)
    {
        TopModel model = new();
        model.Take(reader.Read(inspect: false));
        Thread.Sleep(every);
        model.Take(reader.Read(inspect: false));
        if (Console.IsOutputRedirected) AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, TopTable.WidthOfFile);
        AnsiConsole.Write(TopTable.Of(model, TopOrder.Load, selected: null, rowsMax: int.MaxValue));
    }
}

using System.CommandLine;

namespace Vmm.Tool;

/// <summary><c>vmm doctor</c>: what of this machine the tool can use, what is missing, and what to do.</summary>
internal static class DoctorCommand
{
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Argument<string?> wanted = new("COMMAND")
        {
            Description = "run, serve or boot: fails if that command does not work here.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        wanted.AcceptOnlyFromAmong("run", "serve", "boot");
        Command command = new("doctor", "Look at what this machine has, and what to do about what is missing. Changes nothing.") { wanted };
        command.SetAction(parsed => carriesOut ? Look(HostChecks.All, parsed.GetValue(wanted), Console.Out) : ExitCode.Success);
        return command;
    }

    /// <summary>Makes the checks, and writes a line for each.</summary>
    /// <param name="checks">The checks.</param>
    /// <param name="wanted">A command that has to work; null for none.</param>
    /// <param name="output">Where the lines go.</param>
    /// <returns>The process's exit code.</returns>
    internal static int Look(IReadOnlyList<HostCheck> checks, string? wanted, TextWriter output)
    {
        int width = checks.Max(check => check.Name.Length);
        bool works = true;
        foreach (HostCheck check in checks)
        {
            Finding finding = check.Look();
            works &= finding.Health != Health.Missing || check.NeededBy is null || check.NeededBy != wanted;
            string needed = finding.Health == Health.Missing && check.NeededBy is { } by ? $" (for 'vmm {by}')" : "";
            output.WriteLine($"{Word(finding.Health),-8} {check.Name.PadRight(width)}  {Printable.Of(finding.What)}{needed}");
        }
        return works ? ExitCode.Success : ExitCode.World;
    }

    private static string Word(Health health) => health switch
    {
        Health.Good => "good",
        Health.Limited => "limited",
        _ => "missing",
    };
}

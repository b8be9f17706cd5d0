namespace Vmm.Devices.Simulation;

/// <summary>
/// A command of the guest's shell. A family of commands is one file under <c>Commands</c> and one line in
/// <see cref="ShellSyntax.Commands"/>.
/// </summary>
/// <param name="Name">One word, or two: <c>console read</c>.</param>
/// <param name="Parameters">
/// What follows it; the name says of which kind it is (see <see cref="ShellParameter"/>). <c>[COUNT]</c> may be left out, and <c>TEXT…</c>
/// is the rest of the command; both stand last.
/// </param>
/// <param name="Summary">What it does, for <c>help</c>.</param>
/// <param name="Run">Does it; gives null if it went well, else a sentence.</param>
internal sealed record ShellCommand(
    string Name, string[] Parameters, string Summary, Func<GuestShell, ShellArguments, ValueTask<string?>> Run)
{
    /// <summary>The command with what follows it.</summary>
    internal string Usage => string.Join(' ', [Name, .. Parameters]);

    internal int ParametersMin => Parameters.Count(parameter => !parameter.StartsWith('['));

    internal int ParametersMax => Parameters is [.., [.., '…']] ? int.MaxValue : Parameters.Length;
}

/// <summary>A command as it was typed, checked for its form. Whether the device exists shows when it runs.</summary>
internal sealed record ShellInvocation(ShellCommand Command, ShellArguments Arguments)
{
    internal ValueTask<string?> Run(GuestShell shell) => Command.Run(shell, Arguments);
}

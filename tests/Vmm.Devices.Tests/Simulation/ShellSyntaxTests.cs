using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

public sealed class ShellSyntaxTests
{
    [Theory]
    [InlineData("read vda 4096 0x10", 4096, 16)]
    [InlineData("read  vda\t4K 1m", 4096, 1 << 20)]
    [InlineData("trim vda 2G 512", 2L << 30, 512)]
    public void Numbers_are_decimal_or_hexadecimal_or_have_a_unit(string text, ulong offset, ulong length)
    {
        Assert.True(ShellSyntax.TryParse(text, out ShellInvocation? typed, out _));
        Assert.Equal(("vda", offset, length), (typed.Arguments.Text("DISK"), typed.Arguments.Number("OFFSET"), typed.Arguments.Number("LENGTH")));
    }

    [Fact]
    public void A_write_takes_hexadecimal_digits_in_pairs()
    {
        Assert.True(ShellSyntax.TryParse("write vdb 1 00Ff", out ShellInvocation? typed, out _));
        Assert.Equal([0x00, 0xff], typed.Arguments.Bytes("HEX"));
        Assert.False(ShellSyntax.TryParse("write vdb 1 0f0", out _, out _));
        Assert.False(ShellSyntax.TryParse("write vdb 1 0x", out _, out _));
    }

    [Fact]
    public void Commands_are_separated_by_semicolons_and_lines() =>
        Assert.Equal(["lsdev", "fill vda 1", "poweroff"], ShellSyntax.Split(" lsdev;; fill vda 1 ;\npoweroff"));

    [Theory]
    [InlineData("frobnicate", "unknown command 'frobnicate': try 'help'")]
    [InlineData("sha256", "sha256: something is missing, use 'sha256 DISK'")]
    [InlineData("lsdev x", "lsdev: too much, use 'lsdev'")]
    [InlineData("read vda -1 2", "read: '-1' is no OFFSET: give a number such as 4096, 0x1000 or 4K")]
    [InlineData("read vda 1 99999999999999999999", "read: '99999999999999999999' is no LENGTH: give a number such as 4096, 0x1000 or 4K")]
    [InlineData("fill vda 17179869184G", "fill: '17179869184G' is no SEED: give a number such as 4096, 0x1000 or 4K")]
    [InlineData("write vda 0 xyz", "write: 'xyz' is no HEX: give an even number of hexadecimal digits")]
    public void A_command_that_makes_no_sense_is_told_in_a_sentence(string text, string sentence)
    {
        Assert.Equal(sentence, ShellSyntax.Check(text));
        Assert.Equal(sentence, ShellSyntax.Check($"help; {text}; lsdev"));
    }

    [Fact]
    public void Every_command_of_the_help_is_known()
    {
        Assert.Null(ShellSyntax.Check("help; lsdev; sha256 vda; read vda 0 1; write vda 0 00; fill vda 1; fill vda 1 4K; verify vda 1; verify vda 1 512; flush vda; trim vda 0 512; rng 1; balloon 4; touch 1; console write 0 a b; stats; poweroff"));
        Assert.Equal(ShellSyntax.Commands.Count, ShellSyntax.Commands.Select(command => command.Name).Distinct().Count());
    }
}

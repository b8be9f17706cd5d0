using System.Diagnostics;

namespace Vmm.Tests.Native;

/// <summary>Asks the C compiler what the kernel's headers say: the values of a list of C integer expressions.</summary>
internal static class KernelHeaders
{
    /// <summary>The value of each expression, by the expression.</summary>
    /// <param name="headers">Headers to include, as in <c>linux/io_uring.h</c>.</param>
    /// <param name="expressions">Integer expressions, as in <c>sizeof(struct io_uring_sqe)</c>.</param>
    internal static IReadOnlyDictionary<string, long> Evaluate(IEnumerable<string> headers, IReadOnlyList<string> expressions)
    {
        string directory = Directory.CreateTempSubdirectory("vmm-headers-").FullName;
        try
        {
            string source = Path.Combine(directory, "ask.c");
            string program = Path.Combine(directory, "ask");
            File.WriteAllLines(source,
            [
                "#define _GNU_SOURCE",
                "#include <stddef.h>",
                "#include <stdio.h>",
                .. headers.Select(header => $"#include <{header}>"),
                "int main(void) {",
                .. expressions.Select(expression => $"    printf(\"%lld\\n\", (long long)({expression}));"),
                "    return 0;",
                "}",
            ]);
            Run("cc", "-o", program, source);
            string[] values = Run(program).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            return expressions.Zip(values).ToDictionary(pair => pair.First, pair => long.Parse(pair.Second));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} failed: {error.Result}");
        return output;
    }
}
